"""What the worker's main process does beside Celery: maintenance, and work without a broker."""

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from sqlmodel import col, exists, select

from fmx_store.broker import check_broker
from fmx_store.maintenance import Maintenance
from fmx_store.revision import EXPECTED_REVISION, get_revision
from fmx_store.states import State
from fmx_store.tables import Run
from worker.context import Context
from worker.devices import devices_of
from worker.recorder import OUTAGES, first_line
from worker.scratch import sweep_scratch
from worker.shared import Gate, StopFlag
from worker.tasks import work_off

STOP_SECONDS = 8.0  # a run that the standby works on is stopped by then

_log = logging.getLogger(__name__)


class Standby:
    """Claims by itself while the broker is away, in threads of the main process.

    It looks as often as lost announcements are repeated, and leaves all to the pool as long as
    the pool works or the broker answers.
    """

    def __init__(self, app: Celery, context: Context, gate: Gate, concurrency: int) -> None:
        """Nothing happens before `start`."""
        self._app, self._context, self._gate = app, context, gate
        self._concurrency = concurrency
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it, after its runs are handed back; the stop flag is set already."""
        self._ends.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._ends.wait(self._context.settings.dispatch_seconds):
            try:
                if is_anything_due(self._context) and self._is_broker_away():
                    self._work()
            except OUTAGES as error:
                _log.warning("the database is away: %s", first_line(error))
            except Exception:  # noqa: BLE001 - whatever it was, it may be over next time
                _log.exception("the standby failed; it goes on")

    def _is_broker_away(self) -> bool:
        try:
            check_broker(self._app, self._context.settings)
        except Exception as error:  # noqa: BLE001 - whatever a broker's client may raise
            _log.warning("the broker is away, so this worker looks for itself: %s", error)
            return True
        return False

    def _work(self) -> None:
        with self._gate.close() as closed:
            if not closed:
                return
            threads = [
                threading.Thread(target=work_off, args=(self._context,), name=f"standby-{i}")
                for i in range(self._concurrency)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def is_anything_due(context: Context) -> bool:
    """Whether a run waits that this worker could do."""
    due = exists().where(
        col(Run.state) == State.QUEUED,
        col(Run.waiting_for) == 0,
        col(Run.device).in_(devices_of(context.hardware)),
    )
    with context.db.read() as session:
        return session.exec(select(due)).one()


def make_upkeep(
    open_context: Callable[[], Context], stop_flag: StopFlag, gate: Gate
) -> type[bootsteps.StartStopStep]:
    """A step of Celery's worker that starts after the pool is forked, and needs no broker."""

    class Upkeep(bootsteps.StartStopStep):
        requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's way to order steps

        def start(self, parent: Any) -> None:
            # Celery would start the worker anew, also where its terminal has been closed.
            signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
            self._context = context = open_context()
            _look_around(context)
            self._maintenance = Maintenance(
                context.db, context.blobs, context.settings, context.doorbell.ring
            )
            self._maintenance.start()
            self._standby = Standby(parent.app, context, gate, parent.concurrency)
            self._standby.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            stop_flag.set()
            stop_flag.set_deaf()  # Celery has stopped its consumer and not yet its pool
            self._maintenance.stop()
            self._standby.stop()
            self._context.close()

        def terminate(self, parent: Any) -> None:
            self.stop(parent)

    return Upkeep


def _look_around(context: Context) -> None:
    """What is to be said or done once, at the start."""
    try:
        revision = get_revision(context.db)
        if revision != EXPECTED_REVISION:
            _log.error(
                "the database is at revision %s and this worker needs %s: "
                "run `python -m migrations upgrade`",
                revision,
                EXPECTED_REVISION,
            )
            return
        sweep_scratch(context.settings.scratch_dir, context.db)
    except OUTAGES as error:
        _log.warning("the database is away: %s", first_line(error))
