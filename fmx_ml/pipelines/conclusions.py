"""What is left to do for the trainings of a pack that have ended, while the others learn on."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from fmx_ml.engine.device import memory_errors
from fmx_ml.sinks import EpochMetrics, SavedCheckpoint, Sink

Ended = Callable[[int, dict[str, Any] | Exception], None]

_MOST_THREADS = 16


class Conclusions:
    """Measures and exports what has been trained: at once, or in threads beside a busy GPU.

    Whoever is told is told by one thread at a time, and so are guarded sinks.
    """

    def __init__(self, ended: Ended, *, in_threads: bool) -> None:
        """Leaving the context waits for all that was added."""
        self._ended = ended
        self._lock = threading.RLock()
        self._pool = _make_pool() if in_threads else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def guard(self, sink: Sink) -> Sink:
        """The sink, to be used by several threads; itself where there is one."""
        return sink if self._pool is None else _GuardedSink(sink, self._lock)

    def add(self, place: int, conclude: Callable[[], dict[str, Any]]) -> None:
        """Does what is left for a member, soon, and tells of its summary or error."""
        if self._pool is None:
            self._conclude(place, conclude)
        else:
            self._pool.submit(self._conclude, place, conclude)

    def tell(self, place: int, outcome: dict[str, Any] | Exception) -> None:
        """Says that a member has ended."""
        with self._lock:
            self._ended(place, outcome)

    def _conclude(self, place: int, conclude: Callable[[], dict[str, Any]]) -> None:
        try:
            with memory_errors():
                outcome: dict[str, Any] | Exception = conclude()
        except Exception as error:  # noqa: BLE001 - told, and the others go on
            outcome = error
        self.tell(place, outcome)


def _make_pool() -> ThreadPoolExecutor:
    """One core is left to the thread that keeps the GPU busy; each of the others works alone."""
    count = max(1, min(_MOST_THREADS, (os.cpu_count() or 1) - 1))
    return ThreadPoolExecutor(count, "conclusion", torch.set_num_threads, (1,))


class _GuardedSink:
    """A sink that one thread uses at a time."""

    def __init__(self, sink: Sink, lock: threading.RLock) -> None:
        self._sink, self._lock = sink, lock

    def phase(self, name: str) -> None:
        with self._lock:
            self._sink.phase(name)

    def epoch(self, metrics: EpochMetrics) -> None:
        with self._lock:
            self._sink.epoch(metrics)

    def path(self, name: str) -> Path:
        return self._sink.path(name)

    def artifact(self, name: str) -> None:
        with self._lock:
            self._sink.artifact(name)

    def should_stop(self) -> bool:
        with self._lock:
            return self._sink.should_stop()

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        return self._sink.checkpoints()

    def resumed(self, epoch: int) -> None:
        with self._lock:
            self._sink.resumed(epoch)

    def checkpoint(self, epoch: int, write: Callable[[Path], None]) -> None:
        with self._lock:
            self._sink.checkpoint(epoch, write)
