"""Answers that go on while something happens: bounded in number, and without a thread each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.permissions import grant_of
from api.problems import refuse
from fmx_store.settings import Settings

T = TypeVar("T")

HEARTBEAT_SECONDS = 15.0  # proxies end a connection that is silent for longer, many after a minute
RETRY_SECONDS = 5
READERS = 2  # threads that read the record for all streams

# A proxy that collects an answer before it passes it on would make it worthless.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}


class Places:
    """How many answers of this kind there may be: of all, and of each owner."""

    def __init__(self, settings: Settings) -> None:
        """None is taken."""
        self._most, self._most_each = settings.max_streams, settings.max_streams_per_owner
        self._taken = Counter[str]()

    @contextmanager
    def one(self, owner: str) -> Generator[None]:
        """A place for a while. Raises ProblemError: 429 where an owner has too many, 503."""
        later = {"Retry-After": str(RETRY_SECONDS)}
        if self._taken[owner] >= self._most_each:
            detail = f"{self._most_each} streams are open already"
            raise refuse(429, "too_many_streams", detail, headers=later)
        if self._taken.total() >= self._most:
            detail = f"the server has {self._most} streams open already"
            raise refuse(503, "too_many_streams", detail, headers=later)
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


def owner_of(request: Request) -> str:
    """Whose stream it is: a key's owner's, or an address's where keys are off."""
    address = request.client.host if request.client else ""
    return grant_of(request.scope).viewer.owner or address


@dataclass(frozen=True)
class Place:
    """Where a stream is counted, and as whose."""

    places: Places
    owner: str


class Streamed(StreamingResponse):
    """An answer that takes a place while it goes on."""

    def __init__(self, place: Place, content: AsyncIterator[bytes], media_type: str) -> None:
        """Nothing is taken or sent yet."""
        super().__init__(content, headers=HEADERS, media_type=media_type)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place.places.one(self._place.owner):
            await super().__call__(scope, receive, send)


class SharedReads(Generic[T]):
    """Reads the record in threads; who asks for what is being read gets that.

    What was written since may be missing from it, so it is for those who will ask again.
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._limiter = CapacityLimiter(READERS)
        self._reading: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` gives, or has begun to give to others with the same key."""
        task = self._reading.get(key)
        if task is None:
            work: Awaitable[T] = to_thread.run_sync(read, limiter=self._limiter)
            task = self._reading[key] = asyncio.ensure_future(work)
            task.add_done_callback(lambda ended: self._forget(key, ended))
        return await asyncio.shield(task)

    def _forget(self, key: Hashable, ended: asyncio.Task[T]) -> None:
        self._reading.pop(key, None)
        if not ended.cancelled():
            ended.exception()  # all who asked may have left before it failed
