"""Connections with bounds: on how much a request may be, and on how long its sender may take.

uvicorn has none of these: a header without an end would take memory until there is no more, and a
client that sends a byte a minute would keep its connection for ever.
"""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api.envelope import HEADERS, new_request_id
from api.predict.uploads import MAX_UPLOAD_BYTES
from api.problems import MEDIA_TYPE, Problem, tell
from fmx_store.settings import MEBIBYTE, Settings

MIN_RATE = 1024  # bytes a second that a long body must come at
MAX_BODY_BYTES = MAX_UPLOAD_BYTES + MEBIBYTE  # of any path's, with all that chunks are wrapped in
LINGER_SECONDS = 2.0  # that a refused client may go on sending, so that it reads why
RETRY_SECONDS = 1  # after a refusal for want of connections

_VERSIONS = {"1.0", "1.1"}
_MALFORMED = Problem(400, "bad_request", "this is no HTTP request")


@dataclass(frozen=True)
class Limits:
    """What a connection may take."""

    max_connections: int
    max_head_bytes: int
    head_seconds: float
    body_seconds: float
    answer_seconds: float
    max_body_bytes: int


def make_protocol(settings: Settings) -> type[asyncio.Protocol]:
    """What uvicorn makes a connection with."""
    limits = Limits(
        max_connections=settings.max_connections,
        max_head_bytes=settings.max_head_bytes,
        head_seconds=settings.head_seconds,
        body_seconds=settings.body_seconds,
        answer_seconds=settings.answer_seconds,
        max_body_bytes=MAX_BODY_BYTES,
    )
    # It is called and no more.
    return cast("type[asyncio.Protocol]", functools.partial(Connection, limits=limits))


class Connection(HttpToolsProtocol):
    """A client's connection; it answers and ends where a bound is passed."""

    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:
        """The other arguments are uvicorn's own."""
        super().__init__(*arguments, **named)
        self._limits = limits
        self._has_head = self._is_whole = self._is_refused = False
        self._num_head_bytes = 0  # of lines that have come as a whole, trailers too
        self._num_bytes = 0  # of the head that is coming, or of the body
        self._body_began_at = 0.0
        self._refusal = _MALFORMED
        self._answered: RequestResponseCycle | None = None  # or being answered; others may queue
        self._sender_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            detail = f"{self._limits.max_connections} connections are open already; try again"
            headers = {"Retry-After": str(RETRY_SECONDS)}
            self._refuse(Problem(503, "too_many_connections", detail, headers=headers))
        else:
            self._time_sender(self._limits.head_seconds, self._end_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timing_sender()
        self._stop_timing_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._num_bytes += len(data)
        super().data_received(data)
        if not self._is_refused:
            self._bound_rest()

    def _bound_rest(self) -> None:
        """Bounds what is still to come of a request, if anything is."""
        if self._has_head and not self._is_whole:
            if self._num_bytes > self._limits.max_body_bytes:
                self._refuse(_too_large(self._limits.max_body_bytes))
            elif self._sender_timer is None:
                self._body_began_at = self.loop.time()
                self._time_sender(self._limits.body_seconds, self._judge_body)
        elif not self._is_whole or self.cycle.response_complete:
            if self._num_bytes > self._limits.max_head_bytes:
                self._refuse(_long_head(self._limits.max_head_bytes))
            elif self._sender_timer is None and self.timeout_keep_alive_task is None:
                self._time_sender(self._limits.head_seconds, self._end_head)

    # What the parser calls as it goes through the bytes.

    def on_message_begin(self) -> None:
        self._has_head = self._is_whole = False
        self._num_head_bytes = self._num_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def _count_head(self, num_bytes: int) -> None:
        self._num_head_bytes += num_bytes
        if self._num_head_bytes > self._limits.max_head_bytes:
            self._refusal = _long_head(self._limits.max_head_bytes)
            raise ValueError(self._refusal.detail)

    def on_headers_complete(self) -> None:
        if self.parser is None or self.parser.get_http_version() not in _VERSIONS:
            raise ValueError("no version of HTTP that is served")
        self._stop_timing_sender()
        self._has_head, self._num_bytes = True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_timing_sender()
        self._is_whole, self._num_bytes = True, 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    # The time that a sender takes.

    def _time_sender(self, seconds: float, end: Callable[[], None]) -> None:
        self._sender_timer = self.loop.call_later(seconds, end)

    def _stop_timing_sender(self) -> None:
        if self._sender_timer is not None:
            self._sender_timer.cancel()
            self._sender_timer = None

    def _end_head(self) -> None:
        if self._num_bytes == 0:  # nothing was said, so nothing is answered
            self.transport.close()
            return
        seconds = self._limits.head_seconds
        self._refuse(Problem(408, "slow_request", f"no request came within {seconds:g} s"))

    def _judge_body(self) -> None:
        """Ends a body that comes too slowly; a server that does not read it is not held up."""
        now = self.loop.time()
        if self.flow.read_paused:
            self._body_began_at = now
        allowed = self._limits.body_seconds + self._num_bytes / MIN_RATE
        left = self._body_began_at + allowed - now
        if left > 0:
            self._time_sender(left, self._judge_body)
        else:
            detail = f"the body came more slowly than {MIN_RATE} bytes a second"
            self._refuse(Problem(408, "slow_body", detail))

    # The time that a reader takes.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_timer = self.loop.call_later(self._limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_timing_reader()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():  # closing waits until that has been taken
            self.loop.call_later(self._limits.answer_seconds, self.transport.abort)
        super().timeout_keep_alive_handler()

    def _stop_timing_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    # Refusals.

    def send_400_response(self, msg: str) -> None:
        del msg
        self._refuse(self._refusal)

    def _refuse(self, problem: Problem) -> None:
        """Answers, if nothing has been, and ends the connection when the client has read it."""
        self._is_refused = True
        self._stop_timing_sender()
        self.pipeline.clear()
        cycle = self._answered
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False  # what came before is answered, and the connection ends
        elif self._drop_answer():
            self.transport.close()
        else:
            self.transport.write(_write_answer(problem))
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _drop_answer(self) -> bool:
        """Lets go of the answer to a request that is no good; whether it has begun already."""
        cycle = self._answered
        if cycle is None or not self._has_head:
            return False
        if not cycle.response_complete:
            cycle.disconnected = True  # whoever makes it learns that nobody waits for it
            cycle.message_event.set()
        return cycle.response_started


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, "too_large", f"more than {max_bytes:,} bytes are not accepted")


def _long_head(max_bytes: int) -> Problem:
    return Problem(431, "long_head", f"path and headers have more than {max_bytes:,} bytes")


def _write_answer(problem: Problem) -> bytes:
    """The whole answer, as bytes on a connection."""
    request_id = new_request_id()
    body = tell(problem, "", request_id)
    headers = {
        b"content-type": MEDIA_TYPE.encode(),
        b"content-length": str(len(body)).encode(),
        b"connection": b"close",
        b"x-request-id": request_id.encode(),
        **HEADERS,
        **{name.lower().encode(): text.encode() for name, text in problem.headers.items()},
    }
    lines = [b"%s: %s\r\n" % item for item in headers.items()]
    return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body])
