"""A job's story as it happens: server-sent events, or JSON with a document a line."""

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace

import orjson
from starlette.requests import Request

from api.services import Services
from api.streams import HEARTBEAT_SECONDS
from fmx_store.database import OUTAGES
from fmx_store.errors import CursorError, NotFoundError
from fmx_store.events import Cursor, Told, Window, read_window
from fmx_store.viewers import View

EVENT_TYPE, LINES_TYPE = "text/event-stream", "application/x-ndjson"

RETRY_MILLISECONDS = 1000  # after which a browser comes back to a stream that broke off
OUTAGE_SECONDS = 1.0  # between two looks at a record that is away


@dataclass(frozen=True)
class Form:
    """How events are written."""

    media_type: str
    write: Callable[[Told], bytes]
    greeting: bytes
    heartbeat: bytes


def _write_event(told: Told) -> bytes:
    data = orjson.dumps(told.data)
    return f"id: {told.cursor}\nevent: {told.name}\ndata: ".encode() + data + b"\n\n"


def _write_line(told: Told) -> bytes:
    body = {"id": str(told.cursor), "event": told.name, "data": told.data}
    return orjson.dumps(body) + b"\n"


SERVER_SENT = Form(EVENT_TYPE, _write_event, b"retry: %d\n\n" % RETRY_MILLISECONDS, b":\n\n")
LINES = Form(LINES_TYPE, _write_line, b"", b"\n")


class Story:
    """A job's events for one who listens."""

    def __init__(self, request: Request, services: Services, view: View, job_id: str) -> None:
        """Nothing is read yet."""
        self._request, self._services = request, services
        self._view, self._job_id = view, job_id
        self._pulse_at = 0.0

    async def read(self, cursor: Cursor) -> Window:
        """What comes after a cursor. Raises NotFoundError, CursorError, a database's errors."""
        key = (self._view.viewer, self._job_id, cursor)
        return await self._services.windows.get(
            key, lambda: read_window(self._view, self._job_id, cursor)
        )

    async def tell(self, window: Window, form: Form) -> AsyncGenerator[bytes]:
        """All events from a window on, until the job has ended, is gone, or the server stops."""
        yield form.greeting
        ends_at = time.monotonic() + self._services.settings.max_stream_seconds
        self._pulse_at = time.monotonic() + HEARTBEAT_SECONDS
        while not self._services.watch.is_stopped and time.monotonic() < ends_at:
            if window.events:
                yield b"".join(map(form.write, window.events))
            if window.is_over:
                end = Cursor(window.cursor.base, has_ended=True)
                yield form.write(Told(end, "end", {"state": window.state}))
                return
            if time.monotonic() >= self._pulse_at:
                if not await self._is_still_let_in():
                    return
                yield form.heartbeat
                self._pulse_at = time.monotonic() + HEARTBEAT_SECONDS
            try:
                window = await self._read_next(window, min(self._pulse_at, ends_at))
            except (NotFoundError, CursorError):  # it was deleted; the record was put back
                return

    async def _is_still_let_in(self) -> bool:
        try:
            return await self._services.doorman.still_admits(self._request.scope)
        except OUTAGES:
            return True

    async def _read_next(self, window: Window, until: float) -> Window:
        """The next window, once there is one; an empty one at a moment, and in an outage."""
        try:
            if not window.has_more:
                left = until - time.monotonic()
                known = window.version
                await self._services.watch.wait(
                    self._job_id, left, lambda version, _: version != known
                )
            return await self.read(window.cursor)
        except OUTAGES:  # a browser would not come back to a refusal
            await self._services.watch.rest(OUTAGE_SECONDS)
            return replace(window, events=())
