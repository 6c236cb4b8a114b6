"""Problems as pages, for whoever looks with a browser."""

from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from api.pages.rendering import render_page
from api.problems import Problem

LOGIN_PATH = "/login"


def show_problem(request: Request, problem: Problem) -> Response:
    """The page that tells a problem; the one that takes a key, where a key is what is missing."""
    if problem.status == HTTPStatus.UNAUTHORIZED and request.scope["path"] != LOGIN_PATH:
        return RedirectResponse(f"{LOGIN_PATH}?next={quote(_find_way_back(request), safe='')}", 303)
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


def _find_way_back(request: Request) -> str:
    """Where whoever has signed in wants to be: what was asked for, if it was a page."""
    if request.method != "GET":
        return "/jobs"
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
