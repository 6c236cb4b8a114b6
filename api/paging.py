"""How long a page of a list may be."""

from api.pointers import ErrorItem
from api.problems import invalid
from fmx_store.settings import Settings

DEFAULT_LIMIT = 50


def check_limit(limit: int | None, settings: Settings) -> int:
    """The limit of a page. Raises ProblemError above the settings' bound."""
    if limit is None:
        return min(DEFAULT_LIMIT, settings.max_page)
    if limit > settings.max_page:
        detail = f"Input should be less than or equal to {settings.max_page}"
        raise invalid([ErrorItem("?limit", "less_than_equal", detail)])
    return limit
