"""Work on a GPU that is launched as a whole: recorded once as a CUDA graph, then replayed.

A step of these small networks is some sixty kernels of a few microseconds each; launched one by
one from Python they take several times as long as they run.
"""

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch

logger = logging.getLogger(__name__)

Work = Callable[[], None]

_recording = threading.Lock()  # one thread at a time: what others allocate meanwhile is no harm


class Recorder:
    """Runs work on a stream of its own, and records it there; on the CPU it only runs it."""

    def __init__(self, device: torch.device) -> None:
        """What was begun on the device before is waited for."""
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            torch.cuda.current_stream(device).synchronize()
            self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def running(self) -> Generator[None]:
        """Everything within goes to the stream."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    def finish(self) -> None:
        """Waits for all that has been begun on the stream."""
        if self._stream is not None:
            self._stream.synchronize()

    def record(self, work: Work) -> Work:
        """The work, to be called within `running`.

        It must be the same at every call, and find and leave its numbers at the same places.
        """
        return work if self._stream is None else _Graph(work, self._pool)


class _Graph:
    """Runs the work at the first call, so that libraries make ready; records it at the second.

    Both do their part of the training: nothing has to be undone.
    """

    def __init__(self, work: Work, pool: Any) -> None:
        self._work, self._pool = work, pool
        self._graph: torch.cuda.CUDAGraph | None = None
        self._num_calls = 0

    def __call__(self) -> None:
        self._num_calls += 1
        if self._num_calls == 2:  # noqa: PLR2004 - the second
            self._graph = self._try_to_record()
        if self._graph is None:
            self._work()
        else:
            self._graph.replay()

    def _try_to_record(self) -> torch.cuda.CUDAGraph | None:
        """None where the device refuses; the work then goes on being launched kernel by kernel."""
        graph = torch.cuda.CUDAGraph()
        with _recording:
            torch.cuda.current_stream().synchronize()
            try:
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    self._work()
                finally:
                    graph.capture_end()
            except RuntimeError as error:
                logger.warning("no CUDA graph: %s", error)
                return None
        return graph
