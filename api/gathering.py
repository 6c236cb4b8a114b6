"""Work that is done for many requests at once, without a thread for each of them."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

K = TypeVar("K")
V = TypeVar("V")

MOST = 64  # items of one round, so that the first of them does not wait for hundreds


class Gatherer(Generic[K, V]):
    """Gathers what is asked for while a round is under way, and does it all in the next round.

    A round begins after each of its items was asked for, so whoever asks after a write sees it.
    """

    def __init__(self, work: Callable[[Sequence[K]], Sequence[V | Exception]]) -> None:
        """`work` answers items in their order; it runs in a thread, one round at a time."""
        self._work = work
        self._waiting: deque[tuple[K, asyncio.Future[V]]] = deque()
        self._rounds: asyncio.Task[None] | None = None
        self._turn = CapacityLimiter(1)  # a thread of its own: slow routes may have taken the rest

    async def ask(self, item: K) -> V:
        """The answer to an item. Raises the exception that is its answer, or that work raises."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                num_items = min(MOST, len(self._waiting))
                await self._answer([self._waiting.popleft() for _ in range(num_items)])
        finally:
            self._rounds = None

    async def _answer(self, asked: Sequence[tuple[K, asyncio.Future[V]]]) -> None:
        items = [item for item, _ in asked]
        try:
            found = await to_thread.run_sync(self._work, items, limiter=self._turn)
        except Exception as error:  # noqa: BLE001 - each who asked raises it
            found = [error] * len(items)
        for (_, answer), value in zip(asked, found, strict=True):
            if answer.done():  # whoever asked has given up
                continue
            if isinstance(value, Exception):
                answer.set_exception(value)
            else:
                answer.set_result(value)
