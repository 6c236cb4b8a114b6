"""Problems as pages, for whoever looks with a browser."""

from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import URL

from api.pages.rendering import render_page
from api.problems import Problem

LOGIN_PATH = "/login"


def show_problem(request: Request, problem: Problem) -> Response:
    """The page that tells a problem; the one that takes a key, where a key is what is missing."""
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return _ask_for_key(request)
    answer = render_page(
        request,
        "problem.html",
        status=problem.status,
        problem=problem,
        title=HTTPStatus(problem.status).phrase,
        request_id=request.scope.get("state", {}).get("request_id"),
    )
    answer.headers.update({"Cache-Control": "no-store", **problem.headers})
    return answer


def _ask_for_key(request: Request) -> Response:
    """Leads to the form; where a script has asked for a part of a page, the page itself."""
    shown = request.headers.get("hx-current-url")
    way = f"{LOGIN_PATH}?next={quote(_find_way_back(request, shown), safe='')}"
    if shown is None:
        return RedirectResponse(way, 303)
    return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": way})


def _find_way_back(request: Request, shown: str | None) -> str:
    """Where whoever has signed in wants to be: the page that is shown, or that was asked for."""
    url = request.url if shown is None else URL(shown)
    if request.method != "GET":
        return "/jobs"
    return f"{url.path}?{url.query}" if url.query else url.path
