"""Every error of the server becomes a problem body (RFC 9457); one table says which and how."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import orjson
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
from api.pointers import ErrorItem, describe_invalid_request, spec_pointer
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

MEDIA_TYPE = "application/problem+json"
INFERENCE_PATHS = "/v2"  # whose protocol wants an error's text in a member of this name
MLFLOW_PATHS = "/mlflow"  # whose clients read two members of their own
RETRY_SECONDS = 2  # a database that restarts is back in about this time
ROOM_SECONDS = 10  # a place in a queue, or on a disk, takes longer to come

MAX_TEXT = 1000  # characters of a detail, or of a pointer
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DISK_FULL_SQLSTATE = "53100"  # PostgreSQL: disk_full
_MISSING_SQLSTATES = {"42P01", "42703"}  # undefined_table, undefined_column: not migrated yet

_LATER = {"Retry-After": str(ROOM_SECONDS)}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """What a client is told of an error."""

    status: int
    code: str
    detail: str
    errors: Sequence[ErrorItem] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class ProblemError(Exception):
    """An error of a request that this room finds by itself."""

    def __init__(self, problem: Problem) -> None:
        """The problem is the answer."""
        self.problem = problem
        super().__init__(problem.detail)


def refuse(
    status: int,
    code: str,
    detail: str,
    *,
    pointer: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemError:
    """The error of a request that is refused; pointer is the one place in it, if it is one."""
    errors = [] if pointer is None else [ErrorItem(pointer, code, detail)]
    return ProblemError(Problem(status, code, detail, errors, headers or {}))


def invalid(errors: Sequence[ErrorItem]) -> ProblemError:
    """The error of a request that does not fit its schema."""
    return ProblemError(_invalid(errors))


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

# mlflow's names (its protos/databricks.proto); the others are failures of the server.
_MLFLOW_CODES: Mapping[int, str] = {
    **dict.fromkeys((400, 413, 415, 416, 422), "INVALID_PARAMETER_VALUE"),
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}

# The first class in an error's line of descent that stands here decides.
TABLE: dict[type[Exception], Callable[[Any], Problem]] = {
    ProblemError: lambda e: e.problem,
    RequestValidationError: lambda e: _invalid(describe_invalid_request(e.errors())),
    NotFoundError: lambda e: Problem(404, e.code, str(e)),
    IdempotencyError: lambda e: Problem(422, e.code, str(e)),
    ConflictError: lambda e: Problem(409, ConflictError.code, str(e)),
    UnknownDatasetError: lambda e: Problem(
        422, e.code, str(e), [ErrorItem(spec_pointer("dataset"), e.code, str(e))]
    ),
    NamedRunError: lambda e: Problem(
        422, e.code, str(e), [ErrorItem(spec_pointer(e.place), e.code, str(e))]
    ),
    MisfitError: lambda e: _invalid([ErrorItem(spec_pointer(e.field), "does_not_fit", e.message)]),
    AliasNameError: lambda e: _invalid([ErrorItem("path name", e.code, str(e))]),
    LimitError: lambda e: Problem(422, e.code, str(e), [ErrorItem("/spec", e.code, str(e))]),
    QuotaError: _quota,
    NoRoomError: lambda e: Problem(507, e.code, str(e), headers=_LATER),
    CursorError: lambda e: _invalid([ErrorItem("?cursor", e.code, "no list gave this cursor")]),
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


def _invalid(errors: Sequence[ErrorItem]) -> Problem:
    places = ", ".join(dict.fromkeys(e.pointer or "the body" for e in errors[:3]))
    return Problem(422, "invalid", f"the request does not fit its schema: {places}", errors)


def describe(error: Exception) -> Problem:
    """The problem that an error is."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[cast("type[Exception]", kind)](error)
    return _INTERNAL


def render(request: Request, problem: Problem) -> Response:
    """The answer that tells a problem: a page for a browser, a problem body for a program."""
    if _wants_page(request):
        from api.pages.errors import show_problem  # noqa: PLC0415 - pages raise problems themselves

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


def tell(problem: Problem, path: str, request_id: str | None) -> bytes:
    """The body of an answer that tells a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": _clip(problem.detail),
        "instance": _clip(quote(path)),
        "code": problem.code,
        "request_id": request_id,
        "errors": [{name: _clip(text) for name, text in vars(i).items()} for i in problem.errors],
    }
    if path.startswith(INFERENCE_PATHS):
        body["error"] = _join_details(body)
    elif path.startswith(MLFLOW_PATHS):
        code = _MLFLOW_CODES.get(problem.status, "INTERNAL_ERROR")
        body |= {"error_code": code, "message": _join_details(body)}
    return orjson.dumps(body)


def _join_details(body: Mapping[str, Any]) -> str:
    return "; ".join([body["detail"], *(item["detail"] for item in body["errors"])])


def _clip(text: str) -> str:
    """The text, or its beginning: what a client sent comes back in some."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


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
