"""The doorbell's task: claim what is most urgent, see it to its end, and again."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from celery import Celery
from celery.exceptions import Reject

from fmx_store import claims
from fmx_store.database import OUTAGES
from fmx_store.ids import is_id
from fmx_store.inbound import WORK_TASK
from fmx_store.room import find_full
from worker.context import Context, PerProcess
from worker.devices import devices_of
from worker.preparation import pack_shares, pack_size
from worker.recorder import first_line
from worker.shared import Slots, StopFlag
from worker.spans import trace_claim
from worker.supervisor import supervise

DEAF_SECONDS = 1.5  # the main process looks every second, at least, whether to stop

_END_SIGNALS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)

_log = logging.getLogger(__name__)


def register(app: Celery, contexts: PerProcess, stop_flag: StopFlag, slots: Slots) -> None:
    """Gives the app its only task."""

    def work(*message: object, **_: object) -> None:
        if not _is_announcement(message):
            _log.warning("a message that announces nothing is dropped")
            return
        came_too_late = stop_flag.is_set()
        with _stopping_on_signals(contexts.get()) as context:
            work_off(context, slots)
            if stop_flag.is_set():
                # Whoever keeps its place in the pool keeps the main process from taking messages,
                # such as the one that announces the run that was handed back just now.
                _wait(stop_flag.is_deaf)
        if came_too_late:
            raise Reject("the worker stops", requeue=True)

    app.task(name=WORK_TASK)(work)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEAF_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def work_off(context: Context, slots: Slots) -> None:
    """Claims and supervises run after run, or packs, until none is due or the worker stops."""
    with slots.take() as taken:
        while taken and not context.is_stopping():
            if (full := find_full(context.settings)) is not None:
                # The record announces again what is due, so work goes on when there is room.
                _log.warning("nothing is claimed, the disk is full: %s", full)
                return
            began_ns = time.time_ns()
            try:
                pack = claims.claim_pack(
                    context.db,
                    context.name,
                    devices_of(context.hardware),
                    pack_size(context),
                    pack_shares(context, slots.count),
                )
            except OUTAGES as error:
                # The record announces again what is due when the database is back.
                _log.warning("nothing can be claimed, the database is away: %s", first_line(error))
                return
            if not pack:
                return
            trace_claim(context, pack, began_ns)
            supervise(context, pack)


def _is_announcement(message: tuple[object, ...]) -> bool:
    """Whether it carries one run's id. Which run is claimed then is the record's decision."""
    return len(message) == 1 and isinstance(message[0], str) and is_id(message[0])


@contextmanager
def _stopping_on_signals(context: Context) -> Generator[Context]:
    """In a process of the pool, a signal to end stops the run in good order, not the process.

    Celery's own handlers would leave the supervisor wherever it is. Where the worker ends too,
    as with a signal to the whole group, its main process ends the pool when its tasks are done.
    """
    if not context.in_pool or threading.current_thread() is not threading.main_thread():
        yield context
        return
    signalled = threading.Event()

    def note(_signum: int, _frame: FrameType | None) -> None:
        signalled.set()

    before = {signum: signal.signal(signum, note) for signum in _END_SIGNALS}
    try:
        yield replace(context, is_stopping=lambda: signalled.is_set() or context.is_stopping())
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
