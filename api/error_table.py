"""Every error of the server becomes a problem; one table says which and how."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.accept import prefers_html
from api.pages.errors import show_problem
from api.pointers import ErrorItem, describe_invalid_request, spec_pointer
from api.problems import INFERENCE_PATHS, MEDIA_TYPE, Problem, ProblemError, misfit, tell
from fmx_ml.questions import MisfitError
from fmx_store.errors import (
    AliasNameError,
    BlobError,
    ConflictError,
    CursorError,
    IdempotencyError,
    LimitError,
    NamedRunError,
    NoRoomError,
    NotFoundError,
    QuotaError,
    StorageUnavailableError,
    UnknownDatasetError,
)

RETRY_SECONDS = 2  # a database that restarts is back in about this time
ROOM_SECONDS = 10  # a place in a queue, or on a disk, takes longer to come

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DISK_FULL_SQLSTATE = "53100"  # PostgreSQL: disk_full
_MISSING_SQLSTATES = {"42P01", "42703"}  # undefined_table, undefined_column: not migrated yet

_LATER = {"Retry-After": str(ROOM_SECONDS)}

_log = logging.getLogger(__name__)


def _database(error: DBAPIError) -> Problem:
    full = "disk is full" in str(error.orig)
    if full or getattr(error.orig, "sqlstate", None) == _DISK_FULL_SQLSTATE:
        return Problem(507, "disk_full", "there is no room to record this", headers=_LATER)
    return _UNREACHABLE


def _quota(error: QuotaError) -> Problem:
    """Runs that wait become fewer by themselves; files do where somebody deletes jobs."""
    status = 429 if error.what == "queued runs" else 507
    return Problem(status, error.code, str(error), headers=_LATER)


def _program(error: ProgrammingError) -> Problem:
    missing = getattr(error.orig, "sqlstate", None) in _MISSING_SQLSTATES
    return _UNREACHABLE if missing else _INTERNAL


def _http(error: HTTPException) -> Problem:
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    detail = {
        404: "there is nothing at this path",
        405: "this path does not know this method",
    }.get(error.status_code, error.detail)
    return Problem(error.status_code, code, detail, headers=error.headers or {})


_UNREACHABLE = Problem(
    503,
    "database_unavailable",
    "the database can't be reached or is busy; try again",
    headers={"Retry-After": str(RETRY_SECONDS)},
)
_INTERNAL = Problem(500, "internal_error", "the server failed; its log knows this request's id")

# The first class in an error's line of descent that stands here decides.
TABLE: dict[type[Exception], Callable[[Any], Problem]] = {
    ProblemError: lambda e: e.problem,
    RequestValidationError: lambda e: misfit(describe_invalid_request(e.errors())),
    NotFoundError: lambda e: Problem(404, e.code, str(e)),
    IdempotencyError: lambda e: Problem(422, e.code, str(e)),
    ConflictError: lambda e: Problem(409, ConflictError.code, str(e)),
    UnknownDatasetError: lambda e: Problem(
        422, e.code, str(e), [ErrorItem(spec_pointer("dataset"), e.code, str(e))]
    ),
    NamedRunError: lambda e: Problem(
        422, e.code, str(e), [ErrorItem(spec_pointer(e.place), e.code, str(e))]
    ),
    MisfitError: lambda e: misfit([ErrorItem(spec_pointer(e.field), "does_not_fit", e.message)]),
    AliasNameError: lambda e: misfit([ErrorItem("path name", e.code, str(e))]),
    LimitError: lambda e: Problem(422, e.code, str(e), [ErrorItem("/spec", e.code, str(e))]),
    QuotaError: _quota,
    NoRoomError: lambda e: Problem(507, e.code, str(e), headers=_LATER),
    CursorError: lambda e: misfit([ErrorItem("?cursor", e.code, "no list gave this cursor")]),
    BlobError: lambda e: Problem(500, e.code, "a stored file is missing or damaged"),
    StorageUnavailableError: lambda e: Problem(
        503,
        e.code,
        "what keeps the stored files can't be reached; try again",
        headers={"Retry-After": str(RETRY_SECONDS)},
    ),
    OperationalError: _database,
    InterfaceError: _database,
    ProgrammingError: _program,
    PoolTimeoutError: lambda _: _UNREACHABLE,
    HTTPException: _http,
    ClientDisconnect: lambda _: Problem(400, "client_disconnected", "the request broke off"),
}


def describe(error: Exception) -> Problem:
    """The problem that an error is."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[cast("type[Exception]", kind)](error)
    return _INTERNAL


def render(request: Request, problem: Problem) -> Response:
    """The answer that tells a problem: a page for a browser, a problem body for a program."""
    if _wants_page(request):
        return show_problem(request, problem)
    request_id = request.scope.get("state", {}).get("request_id")
    content = tell(problem, request.scope["path"], request_id)
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(content, problem.status, headers, MEDIA_TYPE)


def _wants_page(request: Request) -> bool:
    """Whether somebody looks: a browser that asks for a page, not a script in one."""
    if request.scope["path"].startswith(INFERENCE_PATHS):
        return False
    return prefers_html(request.headers.get("accept"))


async def handle(request: Request, error: Exception) -> Response:
    """The answer that tells an error of the table; what is the server's fault is logged."""
    problem = describe(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        unplanned = error if problem is _INTERNAL else None
        identity = request.scope["state"]["request_id"]
        _log.error("request %s: %s", identity, error, exc_info=unplanned)
    if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_allowed_methods(request))}
        problem = Problem(problem.status, problem.code, problem.detail, headers=headers)
    return render(request, problem)


def _allowed_methods(request: Request) -> list[str]:
    """Every method that some route knows for the request's path."""
    routes = request.app.router.routes
    found = [
        method
        for method in _METHODS
        if any(r.matches({**request.scope, "method": method})[0].value > 1 for r in routes)
    ] or ["GET"]  # within a mount: static files
    return ["HEAD", *found] if "GET" in found else found


def install(app: FastAPI) -> None:
    """Makes the table answer in place of FastAPI's own handlers."""
    for kind in (*TABLE, Exception):
        app.add_exception_handler(kind, handle)
