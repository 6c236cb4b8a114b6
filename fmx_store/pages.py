"""Pages of lists, and the cursors that continue them: where a page ended, as text."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fmx_store.errors import CursorError
from fmx_store.ids import is_id
from fmx_store.texts import is_storable

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a list, and the cursor that continues it."""

    items: Sequence[T]
    next_cursor: str | None


def make_page(found: Sequence[T], limit: int, key: Callable[[T], str]) -> Page[T]:
    """The page of what was found by a query for one item more than the limit."""
    more = encode_cursor(key(found[limit - 1])) if len(found) > limit else None
    return Page(found[:limit], more)


def encode_cursor(last: str) -> str:
    """The cursor of a list that ended at this id or path."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The id in a cursor. Raises CursorError."""
    text = decode_path(cursor)
    if not is_id(text):
        raise CursorError(cursor)
    return text


def decode_path(cursor: str) -> str:
    """The path in a cursor. Raises CursorError."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise CursorError(cursor) from error
    if not text or not is_storable(text):
        raise CursorError(cursor)
    return text
