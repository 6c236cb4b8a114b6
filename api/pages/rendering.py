"""Pages as HTML: one environment for all templates, and the headers that every page has."""

from collections.abc import Callable
from typing import Any, cast

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.pages import words
from api.permissions import GRANT, STRANGER
from api.routes.pages import WEB
from fmx_store.keys import Grant, Scope
from fmx_store.settings import Settings

HTML_TYPE = "text/html; charset=utf-8"

# Everything is this server's own; pictures may also be made by a script of it, or dropped on it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    # Without a referrer at all a browser calls the origin of its own forms null.
    "Referrer-Policy": "same-origin",
    "Vary": "Accept, Cookie",
}


def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cast("dict[str, Callable[..., Any]]", environment.filters).update(words.FILTERS)
    return environment


_ENVIRONMENT = _make_environment()


def render_page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """A page or a part of one; `context` is what its template shows beside who looks."""
    frame = {"path": request.scope["path"], **_describe_visitor(request)}
    text = render(template, **frame, **context)
    return Response(text, status, HEADERS, HTML_TYPE)


def render(template: str, **context: Any) -> str:
    """A template as text."""
    return _ENVIRONMENT.get_template(template).render(context)


def _describe_visitor(request: Request) -> dict[str, Any]:
    """Whether keys are on, whether whoever looks is let in, and what their key allows."""
    grant: Grant = request.scope.get(GRANT, STRANGER)
    settings: Settings = request.app.state.services.settings
    return {
        "needs_keys": settings.needs_keys,
        "is_known": grant is not STRANGER,
        "may": {scope.value: grant.allows(scope) for scope in Scope},
    }
