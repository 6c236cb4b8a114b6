"""The cookie that keeps a key in a browser, and what tells its own pages from other sites'."""

from collections.abc import MutableMapping
from typing import Any

from fastapi import Response
from starlette.requests import cookie_parser

from api.problems import refuse

NAME = "fmx_key"
KEPT_SECONDS = 30 * 24 * 3600

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# A browser sends these for a page of another site only after asking this server, which says no.
_OWN_HEADERS = (b"hx-request", b"x-requested-with")

AsgiScope = MutableMapping[str, Any]


def read_key(scope: AsgiScope) -> str | None:
    """The key in the cookie; None where there is none."""
    given = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    # As browsers have them: what else runs on this host may have set cookies of any form.
    return cookie_parser(given.decode("latin-1")).get(NAME) or None


def keep_key(answer: Response, key: str, *, secure: bool) -> None:
    """Lets the browser keep a key: no script reads it, and other sites' requests go without it."""
    answer.set_cookie(
        NAME, key, max_age=KEPT_SECONDS, httponly=True, samesite="strict", secure=secure
    )


def drop_key(answer: Response) -> None:
    """Lets the browser forget it."""
    answer.delete_cookie(NAME, httponly=True, samesite="strict")


def is_foreign(scope: AsgiScope) -> bool:
    """Whether a page of another origin is said to send a request."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host", b"")


def refuse_foreign(scope: AsgiScope) -> None:
    """Raises ProblemError (403) for what a page of another origin sends."""
    if is_foreign(scope):
        raise refuse(403, "foreign_origin", "a page of another site may not ask this server")


def refuse_forged(scope: AsgiScope) -> None:
    """Raises ProblemError (403) for what would change something and is not of a page of ours.

    A browser sends the cookie by itself, so that a cookie alone does not say who wanted it.
    """
    if scope["method"] in _SAFE_METHODS:
        return
    refuse_foreign(scope)
    names = {name for name, _ in scope["headers"]}
    if b"origin" not in names and not names.intersection(_OWN_HEADERS):
        detail = "with a cookie this needs an Origin header, or X-Requested-With"
        raise refuse(403, "no_origin", detail)


def came_by_https(scope: AsgiScope) -> bool:
    """Whether the browser's connection is encrypted, to this server or to a proxy before it."""
    origin = dict(scope["headers"]).get(b"origin", b"")
    return scope["scheme"] == "https" or origin.startswith(b"https://")
