"""Pages of lists that the record hands out whole."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence

from api.pointers import ErrorItem
from api.problems import invalid
from fmx_store.errors import CursorError
from fmx_store.jobs import Page, decode_cursor, encode_cursor
from fmx_store.settings import Settings
from fmx_store.tables import Artifact, Run

DEFAULT_LIMIT = 50


def check_limit(limit: int | None, settings: Settings) -> int:
    """The limit of a page. Raises ProblemError above the settings' bound."""
    if limit is None:
        return min(DEFAULT_LIMIT, settings.max_page)
    if limit > settings.max_page:
        detail = f"Input should be less than or equal to {settings.max_page}"
        raise invalid([ErrorItem("?limit", "less_than_equal", detail)])
    return limit


def page_runs(runs: Sequence[Run], limit: int, cursor: str | None) -> Page[Run]:
    """The runs after the cursor's, in their order. Raises CursorError."""
    start = 0
    if cursor is not None:
        last = decode_cursor(cursor)
        start = next((i + 1 for i, run in enumerate(runs) if run.id == last), -1)
        if start < 0:
            raise CursorError(cursor)
    items = runs[start : start + limit]
    more = encode_cursor(items[-1].id) if start + limit < len(runs) else None
    return Page(items, more)


def page_artifacts(artifacts: Sequence[Artifact], limit: int, cursor: str | None) -> Page[Artifact]:
    """The artifacts after the cursor's path, by path. Raises CursorError."""
    paths = [artifact.path for artifact in artifacts]
    start = 0 if cursor is None else bisect_right(paths, _decode_path(cursor))
    items = artifacts[start : start + limit]
    more = encode_cursor(items[-1].path) if start + limit < len(artifacts) else None
    return Page(items, more)


def _decode_path(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise CursorError(cursor) from error
