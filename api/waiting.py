"""Long polls: any number of requests wait for a job, and hold no thread or connection meanwhile."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from fmx_store.states import State

LOOK_SECONDS = 0.2  # between two looks at a job that somebody waits for

Seen = tuple[int, State]
"""A job's version and state."""


class _Watched:
    """A job that somebody waits for, and the one task that looks at it for all of them."""

    def __init__(self) -> None:
        self.waiters = 0
        self.seen: Seen | None = None
        self.error: Exception | None = None
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Wakes everyone who waits for news, and begins the next wait."""
        self.news.set()
        self.news = asyncio.Event()


class JobWatch:
    """Looks at each job that is waited for, once for all who wait."""

    def __init__(self, look: Callable[[str], Awaitable[Seen]]) -> None:
        """`look` reads a job's version and state, or raises."""
        self._look = look
        self._jobs: dict[str, _Watched] = {}
        self._stop = asyncio.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether the server stops, so that nobody should wait any more."""
        return self._stop.is_set()

    async def rest(self, seconds: float) -> None:
        """Returns when the time is over, or when the server stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def wait(
        self, job_id: str, seconds: float, is_done: Callable[[int, State], bool]
    ) -> None:
        """Returns when `is_done` holds, when the time is over, or when the server stops.

        Raises what looking raises: NotFoundError, a database's errors.
        """
        watched = self._jobs.get(job_id)
        if watched is None:
            watched = self._jobs[job_id] = _Watched()
            watched.task = asyncio.create_task(self._run(job_id, watched))
        watched.waiters += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wait_for(watched, is_done)
        finally:
            watched.waiters -= 1
            if watched.waiters == 0:
                self._jobs.pop(job_id, None)
                if watched.task is not None:
                    watched.task.cancel()

    async def _wait_for(self, watched: _Watched, is_done: Callable[[int, State], bool]) -> None:
        while not self.is_stopped:
            if watched.error is not None:
                raise watched.error
            if watched.seen is not None and is_done(*watched.seen):
                return
            await watched.news.wait()

    async def _run(self, job_id: str, watched: _Watched) -> None:
        while True:
            try:
                seen = await self._look(job_id)
            except Exception as error:  # noqa: BLE001 - each who waits raises it
                watched.error = error
                watched.tell()
                return
            if seen != watched.seen:
                watched.seen = seen
                watched.tell()
            await asyncio.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """Ends every wait, now and from now on."""
        self._stop.set()
        for watched in self._jobs.values():
            watched.tell()
