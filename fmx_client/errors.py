"""What can go wrong between a client and a server.

FmxClientError
├── AddressError                 what was given is no http:// or https:// address
├── ApiKeyError                  what was given can't be a key
├── ConnectionFailedError        no answer: nothing listens, or the connection broke
├── UnexpectedAnswerError        an answer, but not one of an fmx server
├── ProblemError                 a problem body: status, code, detail, errors, request id
│   ├── AuthenticationError      401: no key, or none that the server knows
│   ├── PermissionDeniedError    403: the key does not allow this
│   ├── NotFoundError            404
│   ├── ConflictError            409
│   │   └── NotReadyError        409: it will be there later; `retry_after` seconds
│   ├── InvalidRequestError      400, 415, 416, 422: `errors` point to the places
│   ├── TooLargeError            413
│   └── UnavailableError         502, 503, 504; `retry_after` seconds, if it was said
│       ├── TooManyError         429: of requests in a second, or of runs that wait
│       └── NoRoomError          507: the server's disk is full, or what is allowed of it
├── DownloadError                the bytes that came are not those that were announced
├── WaitTimeoutError             the job has not ended in time
└── JobEndedError                the job ended, and not well; `job` is how it ended
    ├── JobFailedError
    └── JobCancelledError
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fmx_client.types import Job


class FmxClientError(Exception):
    """Base of every error of this package; `sends` is how often its request was sent."""

    sends: int = 1


class AddressError(FmxClientError, ValueError):
    """What was given is no http:// or https:// address."""

    def __init__(self, url: str) -> None:
        """Url is what was given."""
        self.url = url
        super().__init__(f"{url!r} is no server's address: it begins with http:// or https://")


class ApiKeyError(FmxClientError, ValueError):
    """What was given can't be a key; it is not told, since it may be a secret all the same."""

    def __init__(self) -> None:
        super().__init__("FMX_API_KEY, or api_key, holds what can't be a key: it begins with fmx_")


class ConnectionFailedError(FmxClientError):
    """No answer came. `sent` says whether the request may have reached the server."""

    def __init__(self, url: str, cause: str, *, sent: bool) -> None:
        """Url is the server's; cause is what the connection said."""
        self.url, self.cause, self.sent = url, cause, sent
        what = "the connection broke" if sent else "no connection"
        super().__init__(f"{url}: {what} ({cause})")


class UnexpectedAnswerError(FmxClientError):
    """What answered is not an fmx server, or a newer one that speaks otherwise."""

    def __init__(self, request: str, what: str) -> None:
        """Request is its method and URL."""
        self.request = request
        super().__init__(f"{request}: {what}")


class DownloadError(FmxClientError):
    """The bytes that came are not those that were announced."""


class WaitTimeoutError(FmxClientError):
    """The job has not ended in the time that was given; it goes on."""

    def __init__(self, job: Job, seconds: float) -> None:
        """Job is how it was seen last."""
        self.job = job
        super().__init__(f"job {job.id} is still {job.state} after {seconds:g} seconds")


class JobEndedError(FmxClientError):
    """The job ended, and not well."""

    def __init__(self, job: Job) -> None:
        """Job is how it ended."""
        self.job = job
        said = job.error.message if job.error and job.error.message else job.reason
        super().__init__(f"job {job.id} {job.state}" + (f": {said}" if said else ""))


class JobFailedError(JobEndedError):
    """The job failed."""


class JobCancelledError(JobEndedError):
    """The job was cancelled."""


class PlaceError(BaseModel):
    """One thing that is wrong in a request; `pointer` says where (RFC 6901)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    pointer: str = ""
    code: str = ""
    detail: str = ""


class _Body(BaseModel):
    title: str = ""
    code: str = ""
    detail: str | None = None
    request_id: str | None = None
    errors: list[PlaceError] = []


@dataclass(frozen=True)
class Problem:
    """What a problem body says, and the headers that belong to it."""

    status: int
    code: str
    title: str
    detail: str
    errors: tuple[PlaceError, ...]
    request_id: str | None
    retry_after: float | None


class ProblemError(FmxClientError):
    """The server refused a request."""

    def __init__(self, problem: Problem) -> None:
        """Problem is what it answered."""
        self.problem = problem
        places = "; ".join(f"{e.pointer or '/'}: {e.detail}" for e in problem.errors)
        said = problem.detail or problem.title or problem.code
        super().__init__(f"{said} ({places})" if places else said)

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def title(self) -> str:
        return self.problem.title

    @property
    def detail(self) -> str:
        return self.problem.detail

    @property
    def errors(self) -> tuple[PlaceError, ...]:
        return self.problem.errors

    @property
    def request_id(self) -> str | None:
        return self.problem.request_id

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before it makes sense to ask again."""
        return self.problem.retry_after


class AuthenticationError(ProblemError):
    """The server wants a key, and got none that it knows."""


class PermissionDeniedError(ProblemError):
    """The key does not allow this."""


class NotFoundError(ProblemError):
    """There is no such thing."""


class ConflictError(ProblemError):
    """It makes no sense in the state that things are in."""


class NotReadyError(ConflictError):
    """It will be there later."""


class InvalidRequestError(ProblemError):
    """The request can't be understood, or asks for what does not fit together."""


class TooLargeError(ProblemError):
    """The body is larger than the server takes."""


class UnavailableError(ProblemError):
    """The server can't do it now."""


class TooManyError(UnavailableError):
    """Too many requests in a second, or too many runs that wait."""


class NoRoomError(UnavailableError):
    """The server's disk is full, or as full as it may be."""


_BY_STATUS: dict[int, type[ProblemError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    415: InvalidRequestError,
    416: InvalidRequestError,
    422: InvalidRequestError,
    429: TooManyError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    507: NoRoomError,
}


def error_of(status: int, headers: Mapping[str, str], body: Any) -> ProblemError:
    """The error for an answer; `body` is its JSON, or None where it has none.

    A proxy's answers have no problem body: their status alone says what they are.
    """
    said = _read(body)
    problem = Problem(
        status=status,
        code=said.code or f"http_{status}",
        title=said.title,
        detail=said.detail or said.title or f"the server answered {status}",
        errors=tuple(said.errors),
        request_id=said.request_id or headers.get("x-request-id"),
        retry_after=_seconds(headers.get("retry-after")),
    )
    if problem.code == "not_ready":
        return NotReadyError(problem)
    return _BY_STATUS.get(status, ProblemError)(problem)


def _read(body: Any) -> _Body:
    try:
        return _Body.model_validate(body)
    except ValidationError:
        return _Body()


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is not one that fmx sends."""
    return float(header) if header and header.isdecimal() else None
