"""The child process: `python -m worker.trainer DESCRIPTOR` does orders, one after another.

DESCRIPTOR is its end of the pipe to the supervisor. It carries orders one way and messages the
other; its end means that the supervisor is gone, so the trainer goes too. What an order changes of
the process (its output, its folder for temporary files) is put back or set anew for the next one.
"""

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from worker.execution import execute
from worker.inbox import Inbox
from worker.messages import encode
from worker.sink import LogLine

OUT_OF_MEMORY_SCORE = 500  # of 1000: if memory ends, a training goes before the server it serves
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
_OUTPUTS = (1, 2)

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
    handler = logging.StreamHandler()
    handler.setFormatter(LogLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _warm_up(inbox)
    output = Output()
    while (assignment := inbox.get()) is not None:
        with output.going_to(assignment.log):
            _use_temporary_folder(assignment.temporary)
            last, went_well = execute(assignment.order, pipe, inbox)
        pipe.sendall(encode(last))
        if not went_well:
            return
        _clean_up()


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
            with contextlib.suppress(OSError):  # no room for a log
                stream.flush()
        for descriptor, target in zip(_OUTPUTS, targets, strict=True):
            os.dup2(target, descriptor)


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
