"""The child process: `python -m worker.trainer ORDER DESCRIPTOR` does one order and ends.

DESCRIPTOR is its end of the pipe to the supervisor. It carries messages one way; the other way
nothing is sent, and its end means that the supervisor is gone, so the trainer goes too.
"""

import contextlib
import ctypes
import errno
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

from fmx_ml.errors import FmxError, StoppedError
from worker.messages import Done, Failed, Stopped
from worker.orders import CollateOrder, TrainOrder, read_order
from worker.sink import PipeSink

OUT_OF_MEMORY_SCORE = 500  # of 1000: if memory ends, a training goes before the server it serves
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
_FULL = {errno.ENOSPC, errno.EDQUOT}

_log = logging.getLogger("fmx.trainer")


def main(order_path: str, descriptor: str) -> None:
    """Does the order and sends how it ended."""
    stop = threading.Event()

    def ask_to_stop(_signum: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = socket.socket(fileno=int(descriptor))
    pipe.set_inheritable(False)
    _die_with_supervisor(pipe)
    _volunteer_for_the_oom_killer()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    order = read_order(Path(order_path))
    sink = PipeSink(pipe, order.folder, stop)
    try:
        last = _train(order, sink) if isinstance(order, TrainOrder) else _collate(order, sink)
        sink.send(last)
    except Exception as error:  # noqa: BLE001 - the one place where a pipeline's errors end
        if isinstance(error, StoppedError) and stop.is_set():
            _log.info("stopped on request")
            sink.send(Stopped())
        else:
            _log.exception("failed")
            sink.send(describe(error))
    else:
        _log.info("done")


def describe(error: Exception) -> Failed:
    """The error as the record keeps it; one that nobody foresaw comes with its traceback."""
    message = str(error) or type(error).__name__
    if isinstance(error, FmxError):
        return Failed(code=error.code, message=message)
    if isinstance(error, MemoryError):
        return Failed(code="out_of_memory", message=message)
    if isinstance(error, OSError) and error.errno in _FULL:
        return Failed(code="disk_full", message=message)
    text = "".join(traceback.format_exception(error))
    return Failed(
        code="internal_error", message=f"{type(error).__name__}: {message}", traceback=text
    )


def _train(order: TrainOrder, sink: PipeSink) -> Done:
    from fmx_ml.pipelines import train  # noqa: PLC0415 - a collation goes without torch

    summary = train(
        order.training,
        sink,
        sources=order.sources,
        device=order.device,
        num_threads=order.num_threads,
        needed=order.needed,
        engine=order.engine,
    )
    return Done(summary=summary)


def _collate(order: CollateOrder, sink: PipeSink) -> Done:
    from fmx_ml.collation import collate  # noqa: PLC0415 - a training goes without plots
    from fmx_ml.requests import parse_spec  # noqa: PLC0415

    results = collate(
        order.kind,
        order.preset,
        parse_spec(order.kind, order.spec),
        order.outcomes,
        sink,
        lambda run, name: order.inputs[run][name],
    )
    return Done(results=results.model_dump(mode="json"))


def _die_with_supervisor(pipe: socket.socket) -> None:
    """Ends this process and all it has started when the other end of the pipe closes.

    The kernel's own way comes first, for a trainer that is frozen or deep in foreign code.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(pipe,), name="lifeline", daemon=True).start()


def _watch(pipe: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while pipe.recv(1):
            pass
    os.killpg(0, signal.SIGKILL)


def _volunteer_for_the_oom_killer() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE))


if __name__ == "__main__":
    main(*sys.argv[1:])
