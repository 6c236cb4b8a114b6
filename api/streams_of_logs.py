"""What a job's runs print, as lines of text with time, run and attempt; as it comes, if wanted."""

import re
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime

from api.services import Services
from api.streams_of_events import OUTAGE_SECONDS
from fmx_store.database import OUTAGES
from fmx_store.errors import NotFoundError
from fmx_store.logs import LogPage, ReadPart, read_page, read_tail
from fmx_store.states import ENDED
from fmx_store.viewers import View

LOG_TYPE = "text/plain"
LOOK_SECONDS = 0.5  # between two looks for new lines

_TIMED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (.*)")


class LogStream:
    """The log of a job, or of one of its runs, for one who reads it."""

    def __init__(self, services: Services, view: View, job_id: str, run_id: str | None) -> None:
        """Nothing is read yet."""
        self._services, self._view = services, view
        self._job_id, self._run_id = job_id, run_id
        self._ends: dict[tuple[str, int], int] = {}  # of what was told of each attempt

    async def read(self, after: int) -> LogPage:
        """The parts after one. Raises NotFoundError, a database's errors."""
        key = (self._view.viewer, self._job_id, self._run_id, after)
        return await self._services.log_pages.get(
            key, lambda: read_page(self._view, self._job_id, self._run_id, after)
        )

    async def read_tail(self, num_lines: int) -> LogPage:
        """The newest parts. Raises as `read` does."""
        key = (self._view.viewer, self._job_id, self._run_id, "tail", num_lines)
        return await self._services.log_pages.get(
            key, lambda: read_tail(self._view, self._job_id, self._run_id, num_lines)
        )

    async def tell_tail(
        self, page: LogPage, num_lines: int, *, follow: bool
    ) -> AsyncGenerator[bytes]:
        """The last lines of a page; and all that come after it, if they are to be followed."""
        for part in page.parts:  # what was dropped before the first of them is not missed here
            self._ends.setdefault((part.run_id, part.attempt), part.start)
        lines = [line for part in page.parts for line in self._lines(part)]
        yield "".join(lines[-num_lines:]).encode()
        if follow:
            last = page.parts[-1].id if page.parts else 0
            async for chunk in self._follow(last):
                yield chunk

    async def tell(self, page: LogPage, *, follow: bool) -> AsyncGenerator[bytes]:
        """All lines from a page on; and those that are still to come, if wanted."""
        last = 0
        while page.parts:
            yield self._write(page.parts)
            last = page.parts[-1].id
            page = await self.read(last)
        if follow:
            async for chunk in self._follow(last):
                yield chunk

    async def _follow(self, last: int) -> AsyncGenerator[bytes]:
        """The lines after a part, until the job has ended, is gone, or the server stops."""
        ends_at = time.monotonic() + self._services.settings.max_stream_seconds
        while not self._services.watch.is_stopped and time.monotonic() < ends_at:
            try:
                page = await self.read(last)
            except NotFoundError:
                return
            except OUTAGES:
                await self._services.watch.rest(OUTAGE_SECONDS)
                continue
            if page.parts:
                yield self._write(page.parts)
                last = page.parts[-1].id
            elif page.state in ENDED:
                return
            else:
                await self._services.watch.rest(LOOK_SECONDS)

    def _write(self, parts: Sequence[ReadPart]) -> bytes:
        return "".join(line for part in parts for line in self._lines(part)).encode()

    def _lines(self, part: ReadPart) -> Iterator[str]:
        """A part's lines, after one that says what is missing before it."""
        told = self._ends.get((part.run_id, part.attempt), 0)
        self._ends[part.run_id, part.attempt] = part.start + part.num_bytes
        lines = part.text.removesuffix("\n").split("\n")
        if part.start > told:
            lines.insert(0, f"[{part.start - told:,} bytes before this were not kept]")
        return _write_lines(part, lines)


def _write_lines(part: ReadPart, lines: Sequence[str]) -> Iterator[str]:
    """Lines as they are shown; one without a moment has that of the line before it, or after.

    So the moments of an attempt's lines never go back.
    """
    found = [_TIMED.fullmatch(line) for line in lines]
    moment = next((each[1] for each in found if each), _show(part.at))
    for line, each in zip(lines, found, strict=True):
        moment, said = each.groups() if each else (moment, line)
        yield f"{moment} {part.run_name} #{part.attempt} {said}\n"


def _show(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
