"""Signing in with a key, which the browser then keeps where no script reads it; and out again."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi import Query as QueryOf
from fastapi.responses import RedirectResponse
from pydantic import Field

from api import cookies
from api.dependencies import App
from api.json_body import media_type, read_body, unsupported_media_type
from api.pages.errors import LOGIN_PATH
from api.pages.rendering import render_page
from api.permissions import STRANGER, grant_of
from api.problems import ProblemError
from api.queries import Query

router = APIRouter(include_in_schema=False)

_FORM_TYPE = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES = 4096
_MAX_FIELDS = 10
_HOME = "/jobs"


class LoginQuery(Query):
    """Where to go then."""

    next: str = Field(default=_HOME, max_length=2000)


@router.get(LOGIN_PATH)
def show_login(request: Request, query: Annotated[LoginQuery, QueryOf()]) -> Response:
    if grant_of(request.scope) is not STRANGER:
        return RedirectResponse(_stay_here(query.next), 303)
    return render_page(request, "login.html", next=query.next, problem=None)


@router.post(LOGIN_PATH)
async def sign_in(request: Request, services: App) -> Response:
    cookies.refuse_foreign(request.scope)
    form = await _read_form(request)
    key, way = form.get("key", "").strip(), form.get("next", _HOME)
    if not services.settings.needs_keys:
        return RedirectResponse(_stay_here(way), 303)
    try:
        await services.doorman.check(request.scope, key)
    except ProblemError as error:
        problem = error.problem
        shown = {"next": way, "problem": problem}
        answer = render_page(request, "login.html", status=problem.status, **shown)
        answer.headers.update(problem.headers)
        return answer
    answer = RedirectResponse(_stay_here(way), 303)
    cookies.keep_key(answer, key, secure=cookies.came_by_https(request.scope))
    return answer


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    cookies.refuse_foreign(request.scope)
    answer = RedirectResponse(LOGIN_PATH, 303)
    cookies.drop_key(answer)
    return answer


async def _read_form(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name. Raises ProblemError: 413, 415."""
    if media_type(request) != _FORM_TYPE:
        raise unsupported_media_type(request, _FORM_TYPE)
    body = await read_body(request, _MAX_FORM_BYTES)
    try:
        fields = parse_qs(body.decode("latin-1"), errors="replace", max_num_fields=_MAX_FIELDS)
    except ValueError:  # more fields than the form has
        return {}
    return {name: values[0] for name, values in fields.items()}


def _stay_here(path: str) -> str:
    """A path on this server; the first page for what would lead to another."""
    is_path = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_path and path.isprintable() and path.isascii() else _HOME
