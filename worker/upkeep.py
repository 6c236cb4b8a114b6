"""What the worker's main process does beside Celery: maintenance, and work without a broker."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from sqlmodel import col, exists, select

from fmx_store.broker import check_broker
from fmx_store.database import OUTAGES
from fmx_store.maintenance import Maintenance
from fmx_store.revision import EXPECTED_REVISION, get_revision, is_behind
from fmx_store.states import State
from fmx_store.tables import Run
from worker.context import Context
from worker.devices import devices_of
from worker.recorder import first_line
from worker.scratch import sweep_scratch
from worker.shared import Slots, StopFlag
from worker.tasks import work_off

STOP_SECONDS = 8.0  # a run that the standby works on is stopped by then

_log = logging.getLogger(__name__)


class Standby:
    """Claims by itself while the broker is away, in threads of the main process.

    It looks as often as lost announcements are repeated, and takes the slots that the pool has
    free.
    """

    def __init__(self, app: Celery, context: Context, slots: Slots) -> None:
        """Nothing happens before `start`."""
        self._app, self._context, self._slots = app, context, slots
        self._ends = threading.Event()
        self._looking = threading.Thread(target=self._run, name="standby", daemon=True)
        self._working: list[threading.Thread] = []

    def start(self) -> None:
        """Begins to look."""
        self._looking.start()

    def stop(self) -> None:
        """Ends it, after its runs are handed back; the stop flag is set already."""
        self._ends.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in (self._looking, *self._working):
            thread.join(max(0.0, deadline - time.monotonic()))

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
        self._working = [thread for thread in self._working if thread.is_alive()]
        for _ in range(self._slots.count - len(self._working)):
            thread = threading.Thread(target=self._work_off, name="standby-run", daemon=True)
            thread.start()
            self._working.append(thread)

    def _work_off(self) -> None:
        work_off(self._context, self._slots)


def is_anything_due(context: Context) -> bool:
    """Whether a run waits that this worker could do."""
    due = exists().where(
        col(Run.state) == State.QUEUED,
        col(Run.waiting_for) == 0,
        col(Run.device).in_(devices_of(context.hardware)),
    )
    with context.db.read() as session:
        return session.exec(select(due)).one()


class Upkeep:
    """What runs beside Celery in the main process, from the pool's start to the worker's end."""

    def __init__(
        self, app: Celery, open_context: Callable[[], Context], stop_flag: StopFlag, slots: Slots
    ) -> None:
        """Nothing is opened before `start`."""
        self._app, self._open_context = app, open_context
        self._stop_flag, self._slots = stop_flag, slots
        self._running: tuple[Context, Maintenance, Standby] | None = None

    def start(self) -> None:
        """Opens the record and begins."""
        # Celery would start the worker anew, also where its terminal has been closed.
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
        context = self._open_context()
        _look_around(context)
        maintenance = Maintenance(
            context.db, context.blobs, context.settings, context.doorbell.remind
        )
        standby = Standby(self._app, context, self._slots)
        maintenance.start()
        standby.start()
        self._running = (context, maintenance, standby)

    def stop(self) -> None:
        """Ends it all; a second time changes nothing."""
        self._stop_flag.set()
        self._stop_flag.set_deaf()
        running, self._running = self._running, None
        if running is not None:
            context, maintenance, standby = running
            maintenance.stop()
            standby.stop()
            context.close()


def make_step(upkeep: Upkeep) -> type[bootsteps.StartStopStep]:
    """The upkeep as a step of Celery's worker: starts after the pool, and needs no broker.

    It ends after the consumer, which has taken its last message then, and before the pool.
    """

    class UpkeepStep(bootsteps.StartStopStep):
        requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's way to order steps

        def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            upkeep.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002
            upkeep.stop()

        def terminate(self, parent: Any) -> None:  # noqa: ARG002
            upkeep.stop()

    return UpkeepStep


def _look_around(context: Context) -> None:
    """What is to be said or done once, at the start."""
    try:
        revision = get_revision(context.db)
        if is_behind(revision):
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
