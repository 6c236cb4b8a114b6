"""Request bodies: read up to a limit, and parsed as strictly as JSON allows."""

import json
import math
from collections.abc import Sequence
from typing import Any, cast

from starlette.requests import Request

from api.pointers import join_pointer
from api.problems import ProblemError, refuse

JSON_TYPE = "application/json"

MAX_DIGITS = 18  # of a length that is converted to a number
_MARKS = (b",", b"[", b"{")  # one for each value of a text, or more where they stand in strings


def media_type(request: Request) -> str:
    """The body's media type, lower case, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported_media_type(request: Request, *supported: str) -> ProblemError:
    """The error of a body that is none of the supported types."""
    given = media_type(request)[:100] or "none"
    accepted = " or ".join(supported)
    return refuse(
        415,
        "unsupported_media_type",
        f"the content type is {given!r}, not {accepted}",
        headers={"Accept": ", ".join(supported)},
    )


def refuse_encoding(request: Request) -> None:
    """Raises ProblemError where the body is compressed."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise refuse(
            415,
            "unsupported_content_encoding",
            f"content encoding {encoding[:100]!r} is not decoded here",
            headers={"Accept-Encoding": "identity"},
        )


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises ProblemError (413) without reading much more than the limit."""
    refuse_length(request, max_bytes)
    chunks: list[bytes] = []
    num_bytes = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise too_large(max_bytes)
    return b"".join(chunks)


def refuse_length(request: Request, max_bytes: int) -> None:
    """Raises ProblemError (413) where the body says that it is too long."""
    length = request.headers.get("content-length", "0").lstrip("0")
    if length.isdecimal() and (len(length) > MAX_DIGITS or int(length) > max_bytes):
        raise too_large(max_bytes)


def too_large(max_bytes: int, pointer: str | None = None) -> ProblemError:
    """The error of a body, or of a part of it, above a limit."""
    # What the client still sends is not read: the connection can't serve another request.
    headers = {"Connection": "close"}
    detail = f"more than {max_bytes:,} bytes are not accepted"
    return refuse(413, "too_large", detail, pointer=pointer, headers=headers)


async def read_json(request: Request, max_bytes: int, max_depth: int) -> Any:
    """The JSON value in the body. Raises ProblemError: 415, 413 or 400."""
    return parse_json(await read_json_text(request, max_bytes), max_depth)


async def read_json_text(request: Request, max_bytes: int) -> bytes:
    """The body, which says that it is JSON. Raises ProblemError: 415 or 413."""
    if media_type(request) != JSON_TYPE:
        raise unsupported_media_type(request, JSON_TYPE)
    refuse_encoding(request)
    return await read_body(request, max_bytes)


class _Duplicated(dict[str, Any]):
    """An object whose text names a key twice."""

    def __init__(self, pairs: Sequence[tuple[str, Any]], key: str) -> None:
        super().__init__(pairs)
        self.key = key


def parse_json(text: bytes, max_depth: int, max_values: int | None = None) -> Any:
    """The value of a JSON text.

    Raises ProblemError: 400, bad_json, for what is no JSON, and for what parsers do not agree
    about: a key named twice, NaN and numbers beyond a double, lone surrogates, deep nesting; 413
    for more values than may be, which take up to fifty times the memory of their text.
    """
    if max_values is not None and sum(map(text.count, _MARKS)) > max_values:
        raise refuse(413, "too_many_values", f"more than {max_values:,} values are not accepted")
    try:
        value = json.loads(text.decode(), object_pairs_hook=_make_object)
    except UnicodeDecodeError as error:
        raise _bad("", f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _bad("", f"no JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        raise _bad("", f"nested more than {max_depth} deep") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _bad("", "no JSON: a number is too long") from error
    _check(value, [], max_depth)
    return value


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Duplicated(pairs, key)
        seen.add(key)
    return value


def _check(value: Any, place: list[str | int], max_depth: int) -> None:
    if type(value) is int:
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise _bad(join_pointer(place), "not a finite number")
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, dict | list):
        if len(place) >= max_depth:
            raise _bad(join_pointer(place), f"nested more than {max_depth} deep")
        if isinstance(value, _Duplicated):
            _check_text(value.key, place)
            raise _bad(join_pointer([*place, value.key]), "the same key is given twice")
        _check_items(cast("dict[str, Any] | list[Any]", value), place, max_depth)


def _check_items(value: dict[str, Any] | list[Any], place: list[str | int], max_depth: int) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(key, str):
            _check_text(key, place)
        if type(item) is not int:
            _check(item, [*place, key], max_depth)


def _check_text(text: str, place: list[str | int]) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _bad(join_pointer(place), "a lone surrogate is no character")


def _bad(pointer: str, detail: str) -> ProblemError:
    return refuse(400, "bad_json", detail, pointer=pointer)
