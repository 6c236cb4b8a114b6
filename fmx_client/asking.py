"""What calls do alike: read what is at a path, go through the pages of a list, remove."""

from typing import TypeVar

from fmx_client.errors import NotFoundError
from fmx_client.paths import path_to
from fmx_client.types import Answered, Page
from fmx_client.wire import Call, Emit, Flow, Task, Wire

A = TypeVar("A", bound=Answered)

PAGE_ITEMS = 200  # the most that a server gives at once


def get(wire: Wire, kind: type[A], *parts: str) -> Task[A]:
    """What is at a path."""
    answer = yield from wire.ask(Call("GET", path_to(*parts)))
    return answer.read(kind)


def pages(
    wire: Wire, item_type: type[A], path: str, limit: int | None = None, **filters: str | None
) -> Flow[A, None]:
    """The items of a list, page by page."""
    left, cursor = limit, None
    while left is None or left > 0:
        asked = {"limit": PAGE_ITEMS if left is None else min(left, PAGE_ITEMS), "cursor": cursor}
        params = {k: v for k, v in {**filters, **asked}.items() if v is not None}
        page = (yield from wire.ask(Call("GET", path, params=params))).read(Page[item_type])
        for item in page.items if left is None else page.items[:left]:
            yield Emit(item)
        cursor = page.next_cursor
        left = None if left is None else left - len(page.items)
        if cursor is None:
            return


def remove(wire: Wire, *parts: str) -> Task[None]:
    """Removes what is at a path; that it is gone already is well where it was asked again."""
    try:
        yield from wire.ask(Call("DELETE", path_to(*parts)))
    except NotFoundError as error:
        if error.sends == 1:
            raise
