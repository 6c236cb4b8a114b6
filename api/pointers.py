"""Where in a request an error is: JSON pointers (RFC 6901) made from pydantic's locations."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from pydantic import ValidationError

MAX_ERRORS = 50  # of one answer; a body of 256 KB can hold thousands

_Location: TypeAlias = tuple[str | int, ...]
_Item: TypeAlias = dict[str, Any]  # an error as pydantic tells it

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


def spec_pointer(place: str) -> str:
    """The JSON pointer to a place in the spec, whose names have dots between them."""
    return join_pointer(["spec", *place.split(".")])


def describe_invalid(error: ValidationError, value: Any) -> list[ErrorItem]:
    """The errors of a JSON value that did not fit its model."""
    found = cast("list[_Item]", error.errors(include_url=False, include_input=False))
    kept = [item for item in _of_meant_branches(found, value) if not _is_echo(item, found)]
    return [_describe(item, value) for item in kept[:MAX_ERRORS]]


def _of_meant_branches(found: Sequence[_Item], value: Any) -> list[_Item]:
    """The errors without those that call a value no list that was meant as an object, and so on.

    A value that is nothing of what its place can hold is told so once.
    """
    branches = defaultdict[_Location, list[_Item]](list)
    for item in found:
        branches[_find_union(item, value)].append(item)
    dropped: set[int] = set()
    for union, items in branches.items():
        others = [item for item in items if union and _is_of_other_shape(item, union)]
        if len(others) == len(items) > 0:
            others[0]["msg"] = "; or: ".join(_detail(item) for item in others)
            del others[0]
        dropped.update(map(id, others))
    return [item for item in found if id(item) not in dropped]


def _is_of_other_shape(item: _Item, union: _Location) -> bool:
    return len(item["loc"]) == len(union) + 1 and item["type"].endswith("_type")


def _find_union(item: _Item, value: Any) -> _Location:
    """The place of the union that an error lies in, where it does: its branch's tag comes next."""
    location: _Location = item["loc"]
    for number, part in enumerate(location):
        if not _has(value, part):
            is_field = item["type"] == "missing" and number == len(location) - 1
            return () if is_field else location[:number]
        value = value[part]
    return ()


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _is_echo(item: _Item, found: Sequence[_Item]) -> bool:
    """Whether a list is only called too short because its items are bad, which is told too."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in found
    )


def _describe(item: _Item, value: Any) -> ErrorItem:
    context = item.get("ctx", {})
    parts = _existing_parts(item["loc"], value, is_missing=item["type"] == "missing")
    discriminator = str(context.get("discriminator", ""))
    if discriminator.startswith("'"):  # a field's name; others are functions
        parts.append(discriminator.strip("'"))
    if "field" in context:
        parts += context["field"].split(".")
    return ErrorItem(join_pointer(parts), item["type"], _detail(item))


def _existing_parts(location: _Location, value: Any, *, is_missing: bool) -> list[str | int]:
    """The parts of a location that the value has; what it lacks are the tags of unions.

    The last part of a missing field is kept, though the value can't have it.
    """
    parts: list[str | int] = []
    for number, part in enumerate(location, start=1):
        if _has(value, part):
            value = value[part]
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
