"""Where in a request an error is: JSON pointers (RFC 6901) made from pydantic's locations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

MAX_ERRORS = 50  # of one answer; a body of 256 KB can hold thousands

_REQUEST_MARKS = {"query": "?", "header": "header ", "path": "path "}


@dataclass(frozen=True)
class ErrorItem:
    """One place in a request and what is wrong there.

    The pointer goes into the JSON body; `?name` is a query parameter.
    """

    pointer: str
    code: str
    detail: str


def join_pointer(parts: Sequence[str | int]) -> str:
    """The JSON pointer to a place: keys and indices from the outside in."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def describe_invalid(error: ValidationError, value: Any) -> list[ErrorItem]:
    """The errors of a JSON value that did not fit its model."""
    found = cast("list[Mapping[str, Any]]", error.errors(include_url=False, include_input=False))
    kept = [item for item in found if not _is_echo(item, found)]
    return [_describe(item, value) for item in kept[:MAX_ERRORS]]


def _is_echo(item: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a list is only called too short because its items are bad, which is told too."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in found
    )


def _describe(item: Mapping[str, Any], value: Any) -> ErrorItem:
    context = item.get("ctx", {})
    parts = _existing_parts(item["loc"], value, is_missing=item["type"] == "missing")
    if "discriminator" in context:
        parts.append(str(context["discriminator"]).strip("'"))
    if "field" in context:
        parts.append(context["field"])
    return ErrorItem(join_pointer(parts), item["type"], _detail(item))


def _existing_parts(
    location: Sequence[str | int], value: Any, *, is_missing: bool
) -> list[str | int]:
    """The parts of a location that the value has; what it lacks are the tags of unions.

    The last part of a missing field is kept, though the value can't have it.
    """
    parts: list[str | int] = []
    for number, part in enumerate(location, start=1):
        if isinstance(value, dict) and part in value:
            value = cast("dict[Any, Any]", value)[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = cast("list[Any]", value)[part]
        elif not (is_missing and number == len(location)):
            continue
        parts.append(part)
    return parts


def _detail(item: Mapping[str, Any]) -> str:
    return str(item["msg"]).removeprefix("Value error, ")


def describe_invalid_request(items: Sequence[Mapping[str, Any]]) -> list[ErrorItem]:
    """The errors that FastAPI found in query, headers or path."""
    return [
        ErrorItem(
            _REQUEST_MARKS.get(str(item["loc"][0]), "") + ".".join(map(str, item["loc"][1:])),
            item["type"],
            _detail(item),
        )
        for item in items[:MAX_ERRORS]
    ]
