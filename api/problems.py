"""What a client is told of an error: a problem (RFC 9457), and its body."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson

from api.pointers import ErrorItem

MEDIA_TYPE = "application/problem+json"
INFERENCE_PATHS = "/v2"  # whose protocol wants an error's text in a member of this name
MLFLOW_PATHS = "/mlflow"  # whose clients read two members of their own

MAX_TEXT = 1000  # characters of a detail, or of a pointer

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
    return ProblemError(misfit(errors))


def misfit(errors: Sequence[ErrorItem]) -> Problem:
    """What does not fit the schema of a request, and where."""
    places = ", ".join(dict.fromkeys(e.pointer or "the body" for e in errors[:3]))
    return Problem(422, "invalid", f"the request does not fit its schema: {places}", errors)


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
