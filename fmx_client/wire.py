"""How requests travel, written once for both clients.

A call to the server is a flow: a generator that yields what it wants done (send this, pause, hand
this item out) and gets answers back. It opens no socket and never sleeps, so `Client` drives it
with blocking calls and `AsyncClient` with awaits.
"""

import json
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Never, Protocol, TypeAlias, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from fmx_client.errors import (
    ConflictError,
    ConnectionFailedError,
    FmxClientError,
    NoRoomError,
    ProblemError,
    UnavailableError,
    UnexpectedAnswerError,
    error_of,
)

I = TypeVar("I")  # noqa: E741 - items of an iteration
I_co = TypeVar("I_co", covariant=True)
R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)

OK, NO_CONTENT, NOT_MODIFIED = 200, 204, 304
READ_TIMEOUT_SECONDS = 30.0
CONNECT_TIMEOUT_SECONDS = 5.0
LONGEST_RETRY_AFTER_SECONDS = 30.0  # a server that asks for more is reported, not waited for

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class Receiver(Protocol):
    """Takes the bytes of an answer as they come."""

    def request_headers(self) -> dict[str, str]:
        """What to ask for, given what is there already."""
        ...

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """An answer with bytes (200 or 206) begins."""
        ...

    def write(self, chunk: bytes) -> None:
        """Its next bytes."""
        ...


@dataclass(frozen=True)
class Call:
    """One request. An idempotent one may be sent again when its answer got lost."""

    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    json: Any = None
    files: Sequence[tuple[str, tuple[str, bytes, str]]] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    idempotent: bool = True
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS
    patience_seconds: float | None = None  # keep trying for so long, not a number of times
    receiver: Receiver | None = None
    stays_open: bool = False  # a good answer is read bit by bit, by `Read`

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request as httpx sends it."""
        headers = dict(self.headers)
        if self.receiver is not None:
            # Stored bytes, not compressed ones: sizes, ranges and sums are theirs.
            headers |= {"Accept-Encoding": "identity", **self.receiver.request_headers()}
        timeout = httpx.Timeout(self.read_timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS)
        return http.build_request(
            self.method,
            self.path,
            params=self.params or None,
            json=self.json,
            files=list(self.files) or None,
            headers=headers,
            timeout=timeout,
        )

    @property
    def follows_redirects(self) -> bool:
        """A redirected POST would become a GET."""
        return self.method == "GET"

    def holds(self, response: httpx.Response) -> bool:
        """Whether this answer is to be read bit by bit."""
        return self.stays_open and response.status_code == OK

    def takes(self, response: httpx.Response) -> Receiver | None:
        """Who takes the bytes of this answer; None where they are read whole."""
        return self.receiver if response.status_code in {200, 206} else None


def announced(response: httpx.Response) -> Mapping[str, str]:
    """An answer's headers, with the server's own entity tag where it has sent us elsewhere.

    A store that gives files out itself has tags of its own, which are no checksums.
    """
    tags = (hop.headers["etag"] for hop in response.history if "etag" in hop.headers)
    headers = response.headers.copy()
    if (tag := next(tags, None)) is not None:
        headers["etag"] = tag
    return headers


@dataclass(frozen=True)
class Read:
    """Wait for the next bytes of the answer that stays open; at its end there are none."""


@dataclass(frozen=True)
class Pause:
    """Wait before going on."""

    seconds: float


@dataclass(frozen=True)
class Emit(Generic[I_co]):
    """Hand an item to whoever iterates."""

    item: I_co


@dataclass(frozen=True)
class Answer:
    """What came back; `sends` counts how often the request was sent."""

    request: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    sends: int = 1

    @classmethod
    def of(cls, response: httpx.Response, body: bytes = b"") -> "Answer":
        """The answer in a response whose body was read."""
        request = f"{response.request.method} {response.request.url}"
        return cls(request, response.status_code, response.headers, body)

    def value(self) -> Any:
        """The body's JSON. Raises UnexpectedAnswerError."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise UnexpectedAnswerError(
                self.request, f"the answer ({self.status}) is no JSON: is this an fmx server?"
            ) from error

    def read(self, kind: type[M]) -> M:
        """The body as a typed value. Raises UnexpectedAnswerError."""
        try:
            return kind.model_validate(self.value())
        except ValidationError as error:
            first = error.errors()[0]
            place = "/".join(map(str, first["loc"])) or "the body"
            raise UnexpectedAnswerError(
                self.request, f"the answer is not a {kind.__name__}: {place}: {first['msg']}"
            ) from error

    def error(self) -> FmxClientError | None:
        """What is wrong with it, if anything is."""
        if 200 <= self.status < 300 or self.status == NOT_MODIFIED:  # noqa: PLR2004 - HTTP's good ones
            return None
        if self.status < 400:  # noqa: PLR2004 - redirections
            where = self.headers.get("location", "?")
            return UnexpectedAnswerError(self.request, f"the answer ({self.status}) is at {where}")
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            body = None
        return error_of(self.status, self.headers, body)


Step: TypeAlias = Call | Read | Pause | Emit[I]
Flow: TypeAlias = Generator[Step[I], Answer | None, R]
Task: TypeAlias = Flow[Never, R]


class Steps(Generic[I, R]):
    """A flow under way: what it wants next, and its result when it wants nothing more."""

    result: R

    def __init__(self, flow: Flow[I, R]) -> None:
        """Nothing runs before the first `next`."""
        self._flow = flow
        self._resume: Callable[[], Step[I]] = partial(next, flow)

    def next(self) -> Step[I] | None:
        """What to do now; None at the end. Raises what the flow raises."""
        try:
            return self._resume()
        except StopIteration as end:
            self.result = end.value
            return None

    def reply(self, answer: Answer | None = None) -> None:
        """It was done."""
        self._resume = partial(self._flow.send, answer)

    def fail(self, error: httpx.RequestError | FmxClientError) -> None:
        """It could not be done."""
        self._resume = partial(self._flow.throw, error)

    def close(self) -> None:
        """Ends the flow where it stands."""
        self._flow.close()


@dataclass(frozen=True)
class Wire:
    """Sends calls, and sends them again where that is safe and may help.

    A connection that was never made is tried again for every request, one that broke only for an
    idempotent one, and so is an answer that says when to come back.
    """

    base_url: str
    retries: int = 3
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 2.0
    on_retry: Callable[[FmxClientError, float], None] | None = None

    def ask(self, call: Call) -> Task[Answer]:
        """A good answer (2xx, 304). Raises FmxClientError."""
        failing_since, sends = None, 0
        while True:
            sends += 1
            try:
                answer = yield call
            except httpx.RequestError as failure:
                error = self._failed(call, failure)
            else:
                assert answer is not None  # noqa: S101 - a call's reply is an answer
                error = answer.error()
                if error is None:
                    return replace(answer, sends=sends)
            now = time.monotonic()
            failing_since = now if failing_since is None else failing_since
            pause = self._pause(call, error, sends, now - failing_since)
            if pause is None:
                error.sends = sends
                raise error
            if self.on_retry is not None:
                self.on_retry(error, pause)
            yield Pause(pause)

    def _failed(self, call: Call, failure: httpx.RequestError) -> FmxClientError:
        cause = str(failure) or type(failure).__name__
        if isinstance(failure, httpx.TransportError):
            sent = not isinstance(failure, _NEVER_SENT)
            return ConnectionFailedError(self.base_url, cause, sent=sent)
        return UnexpectedAnswerError(f"{call.method} {self.base_url}{call.path}", cause)

    def _pause(
        self, call: Call, error: FmxClientError, sends: int, failing_seconds: float
    ) -> float | None:
        """Seconds until the call is sent again; None if it is not."""
        if not _may_resend(call, error, sends):
            return None
        doubled = min(
            self.first_pause_seconds * 2 ** min(sends - 1, 10), self.longest_pause_seconds
        )
        pause = doubled * random.uniform(0.8, 1.2)  # noqa: S311 - spreads clients, hides nothing
        if isinstance(error, ProblemError) and error.retry_after is not None:
            pause = max(error.retry_after, self.first_pause_seconds)
        if pause > LONGEST_RETRY_AFTER_SECONDS:
            return None
        if call.patience_seconds is not None:
            return pause if failing_seconds < call.patience_seconds else None
        return pause if sends <= self.retries else None


def _may_resend(call: Call, error: FmxClientError, sends: int) -> bool:
    match error:
        case ConnectionFailedError():
            return call.idempotent or not error.sent
        case UnavailableError():
            patient = error.retry_after is not None or call.patience_seconds is not None
            return call.idempotent and patient and not isinstance(error, NoRoomError)
        case ConflictError():
            # An earlier sending of this very request is still being worked on.
            return error.code == "in_flight" and sends > 1
        case _:
            return False
