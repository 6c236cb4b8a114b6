"""The child process: `python -m worker.trainer DESCRIPTOR` does orders, one after another.

DESCRIPTOR is its end of the pipe to the supervisor. It carries orders one way and messages the
other; its end means that the supervisor is gone, so the trainer goes too. What an order changes of
the process (its output, its folder for temporary files) is put back or set anew for the next one.
"""

import contextlib
import ctypes
import errno
import gc
import importlib
import logging
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Generator, Sequence
from pathlib import Path
from types import FrameType

from fmx_ml.errors import FmxError, StoppedError
from worker.messages import Assignment, Done, Failed, Last, Stopped, decode_instruction, encode
from worker.orders import CollateOrder, TrainOrder, read_order
from worker.sink import PipeSink

OUT_OF_MEMORY_SCORE = 500  # of 1000: if memory ends, a training goes before the server it serves
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
_OUTPUTS = (1, 2)
_FULL = {errno.ENOSPC, errno.EDQUOT}

_log = logging.getLogger("fmx.trainer")


def main(descriptor: str) -> None:
    """Does order after order, until one does not go well or SIGTERM says to stop."""
    pipe = socket.socket(fileno=int(descriptor))
    pipe.set_inheritable(False)
    inbox = Inbox(pipe)
    signal.signal(signal.SIGTERM, inbox.ask_to_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_supervisor(inbox)
    _volunteer_for_the_oom_killer()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _warm_up(inbox)
    output = Output()
    while (assignment := inbox.get()) is not None:
        with output.going_to(assignment.log):
            _use_temporary_folder(assignment.temporary)
            last = _do(assignment, pipe, inbox.stop)
        pipe.sendall(encode(last))
        if not isinstance(last, Done):
            return
        _clean_up()


class Inbox:
    """What the supervisor tells the trainer."""

    def __init__(self, pipe: socket.socket) -> None:
        """`listen` is for a thread of its own."""
        self._lines = pipe.makefile("rb")
        self._orders: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self.stop = threading.Event()

    def listen(self) -> None:
        """Takes what comes until the other end is closed."""
        with contextlib.suppress(OSError):
            for line in self._lines:
                self._orders.put(decode_instruction(line))

    def ask_to_stop(self, _signum: int, _frame: FrameType | None) -> None:
        """For a signal: what is being done ends soon, and nothing else is begun."""
        self.stop.set()
        self._orders.put(None)

    def has_orders(self) -> bool:
        """Whether there is something to do."""
        return not self._orders.empty()

    def get(self) -> Assignment | None:
        """The next order; waits for it. None at the end."""
        return None if self.stop.is_set() else self._orders.get()


class Output:
    """Where this process's output and errors go, of Python and of foreign code."""

    def __init__(self) -> None:
        """Remembers where they go now."""
        self._before = [os.dup(descriptor) for descriptor in _OUTPUTS]

    @contextlib.contextmanager
    def going_to(self, log: Path) -> Generator[None]:
        """Appends them to a log for a while. Raises OSError."""
        with log.open("ab") as file:
            self._lead_to([file.fileno()] * len(_OUTPUTS))
        try:
            yield
        finally:
            self._lead_to(self._before)

    def _lead_to(self, targets: Sequence[int]) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for descriptor, target in zip(_OUTPUTS, targets, strict=True):
            os.dup2(target, descriptor)


def _do(assignment: Assignment, pipe: socket.socket, stop: threading.Event) -> Last:
    """Does an order; answers how it ended, with all that was printed in the log."""
    try:
        order = read_order(assignment.order)
        sink = PipeSink(pipe, order.folder, stop)
        last = _train(order, sink) if isinstance(order, TrainOrder) else _collate(order, sink)
        encode(last)  # what JSON can't hold is the order's failure
    except Exception as error:  # noqa: BLE001 - the one place where a pipeline's errors end
        if isinstance(error, StoppedError) and stop.is_set():
            _log.info("stopped on request")
            return Stopped()
        _log.exception("failed")
        return describe(error)
    _log.info("done")
    return last


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


def _warm_up(inbox: Inbox) -> None:
    """Loads what orders will need, as long as there is none.

    What can't be loaded fails the order that needs it, whose log then says why.
    """
    for load in (_load_training, _load_collation):
        if inbox.has_orders():
            return
        try:
            load()
        except Exception as error:  # noqa: BLE001 - whatever a library raises that is not whole
            _log.warning("not loaded yet: %s", error)


def _load_training() -> None:
    from fmx_ml.warmth import warm_up  # noqa: PLC0415 - torch takes seconds

    warm_up()


def _load_collation() -> None:
    importlib.import_module("fmx_ml.collation")  # plots take a second


def _use_temporary_folder(folder: Path) -> None:
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)


def _clean_up() -> None:
    """Leaves as little as possible of an order for the time until the next."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # other trainers share the device


def _die_with_supervisor(inbox: Inbox) -> None:
    """Ends this process and all it has started when the other end of the pipe closes.

    The kernel's own way comes first, for a trainer that is frozen or deep in foreign code.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(inbox,), name="lifeline", daemon=True).start()


def _watch(inbox: Inbox) -> None:
    try:
        inbox.listen()
    finally:
        os.killpg(0, signal.SIGKILL)


def _volunteer_for_the_oom_killer() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE))


if __name__ == "__main__":
    main(*sys.argv[1:])
