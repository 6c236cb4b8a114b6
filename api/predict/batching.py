"""Pictures that arrive together go through their model together.

Legend of shapes: N pictures, H W pixels, K classes.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from api.predict.sessions import Images, Session
from api.predict.statistics import BatchTimes, Statistics
from api.problems import ProblemError, refuse

GATHER_SECONDS = 0.002  # that a picture waits for others at most
MAX_BATCH = 128  # pictures; larger batches leave the cache and are slower a picture
MAX_ABREAST = 2  # batches of a model at a time
RETRY_SECONDS = 1  # a full queue is worked off in less

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class _Ask:
    """Pictures of one request, where its answer goes, and what it is counted in."""

    images_NHW: Images
    answer: "asyncio.Future[Probabilities]"
    asked_at: float  # by the loop's clock
    asked_ns: int  # by perf_counter_ns: some loops' clocks count milliseconds
    statistics: Statistics


class Batcher:
    """A model's queue. To be used in the event loop's thread; the model runs in the executor's.

    While nothing runs, nobody waits: what the loop has at hand starts at once. Meanwhile others
    gather, until the batch before is done or the first of them has waited for GATHER_SECONDS.
    """

    def __init__(self, session: Session, executor: Executor, max_waiting: int) -> None:
        """`max_waiting` bounds the pictures in the queue; a lone request is always taken."""
        self.session = session
        self._executor, self._max_waiting = executor, max_waiting
        self._asks: deque[_Ask] = deque()
        self._num_waiting = 0
        self._num_running = 0
        self._alarm: asyncio.Handle | None = None

    async def predict(self, images_NHW: Images, statistics: Statistics) -> Probabilities:
        """The probabilities, [N, K], of raw pixels. Raises ProblemError (503) in a full queue."""
        asked_ns = time.perf_counter_ns()
        if self._num_waiting and self._num_waiting + len(images_NHW) > self._max_waiting:
            statistics.note_failure(asked_ns)
            raise _overloaded(self._num_waiting)
        loop = asyncio.get_running_loop()
        ask = _Ask(images_NHW, loop.create_future(), loop.time(), asked_ns, statistics)
        self._asks.append(ask)
        self._num_waiting += len(images_NHW)
        self._arrange(loop)
        return await ask.answer

    def _arrange(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sees to it that the next batch starts when it is time."""
        if not self._asks or self._alarm is not None or self._num_running == MAX_ABREAST:
            return
        if self._num_running == 0:  # after the requests that the loop has read already
            self._alarm = loop.call_soon(self._start, loop)
        else:
            due_at = self._asks[0].asked_at + GATHER_SECONDS
            self._alarm = loop.call_at(due_at, self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        batch = self._take()
        if batch:
            self._num_running += 1
            began_ns = time.perf_counter_ns()
            images_NHW = np.concatenate([ask.images_NHW for ask in batch])
            fed_ns = time.perf_counter_ns()
            running = loop.run_in_executor(self._executor, self.session.predict, images_NHW)
            running.add_done_callback(partial(self._finish, loop, batch, began_ns, fed_ns))
        self._arrange(loop)

    def _take(self) -> list[_Ask]:
        """The asks that came first and that somebody still waits for, as many as go together."""
        batch: list[_Ask] = []
        num_pictures = 0
        while self._asks:
            size = len(self._asks[0].images_NHW)
            if batch and num_pictures + size > MAX_BATCH:
                break
            ask = self._asks.popleft()
            self._num_waiting -= size
            if not ask.answer.done():
                batch.append(ask)
                num_pictures += size
        return batch

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Ask],
        began_ns: int,
        fed_ns: int,
        running: "asyncio.Future[Probabilities]",
    ) -> None:
        answered_ns = time.perf_counter_ns()
        self._num_running -= 1
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        is_answered = _hand_out(batch, running)
        times = BatchTimes(began_ns, fed_ns, answered_ns, time.perf_counter_ns())
        self._arrange(loop)
        _count(batch, times, is_answered=is_answered)


def _hand_out(batch: Sequence[_Ask], running: "asyncio.Future[Probabilities]") -> bool:
    """Gives each ask its rows of what came out, or what was raised; whether something came."""
    error = asyncio.CancelledError() if running.cancelled() else running.exception()
    start = 0
    for ask in batch:
        stop = start + len(ask.images_NHW)
        if ask.answer.done():  # its client has gone
            pass
        elif error is None:
            ask.answer.set_result(running.result()[start:stop])
        elif isinstance(error, asyncio.CancelledError):
            ask.answer.cancel()
        else:
            ask.answer.set_exception(error)
        start = stop
    return error is None


def _count(batch: Sequence[_Ask], times: BatchTimes, *, is_answered: bool) -> None:
    """Counts a batch once for each model whose requests it had: equal models share a queue."""
    if not is_answered:
        for ask in batch:
            ask.statistics.note_failure(ask.asked_ns)
        return
    for ask in batch:
        ask.statistics.note_request(len(ask.images_NHW), ask.asked_ns, times)
    num_pictures = sum(len(ask.images_NHW) for ask in batch)
    for statistics in {id(ask.statistics): ask.statistics for ask in batch}.values():
        statistics.note_batch(num_pictures, times)


def _overloaded(num_waiting: int) -> ProblemError:
    detail = f"{num_waiting} pictures wait for this model already; try again"
    return refuse(503, "overloaded", detail, headers={"Retry-After": str(RETRY_SECONDS)})
