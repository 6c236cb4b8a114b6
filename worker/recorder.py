"""Writes a run's progress and renews its lease, in a thread of its own.

The database may be slow or away for a while: the training goes on meanwhile, and what it has
reported is kept until it is written. Only the loss of the lease ends this.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import select

from fmx_ml.sinks import EpochMetrics
from fmx_store import claims
from fmx_store.claims import Lease
from fmx_store.database import Database
from fmx_store.errors import LeaseLostError
from fmx_store.states import ACTIVE, State
from fmx_store.tables import Run

T = TypeVar("T")

OUTAGES = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
"""What a database raises that is away, locked, or no longer the one that may be written."""

WRITE_SECONDS = 0.3  # between two writes: many short epochs go in one
MAX_EPOCHS = 1000  # in one write, after a database has been away for long
LOOK_SECONDS = 0.5  # between two looks for a cancel, which are only reads
RETRY_SECONDS = (0.1, 1.0)  # first and longest pause while the database is away

_log = logging.getLogger(__name__)


def outlast(action: Callable[[], T], has_given_up: Callable[[], bool]) -> T:
    """Does the action, again and again while the database is away. Raises its last outage."""
    pause, longest = RETRY_SECONDS
    while True:
        try:
            return action()
        except OUTAGES as error:
            if has_given_up():
                raise
            _log.warning("the database is away: %s", first_line(error))
        time.sleep(pause)
        pause = min(2 * pause, longest)


class Recorder:
    """Keeps one lease and writes what it is given under it."""

    def __init__(self, db: Database, lease: Lease, heartbeat_seconds: float) -> None:
        """Nothing is written before `start`."""
        self._db, self._lease, self._heartbeat_seconds = db, lease, heartbeat_seconds
        self._changed = threading.Condition()
        self._epochs: list[EpochMetrics] = []
        self._phase: str | None = None
        self._hurries = self._stops = False
        # The claim was the first sign of life.
        self._written_at = self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self.is_cancelled = False  # the record wants the run to stop
        self.error: Exception | None = None  # why nothing more is written, if so

    def start(self) -> None:
        """Begins to keep the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread. What was not written by `flush` is dropped."""
        with self._changed:
            self._stops = True
            self._changed.notify_all()
        # A write that hangs holds no one up: after the run's end its token is worth nothing.
        self._thread.join(timeout=5)

    def add_epoch(self, metrics: EpochMetrics) -> None:
        """An epoch to be written soon."""
        with self._changed:
            self._epochs.append(metrics)
            self._changed.notify_all()

    def set_phase(self, name: str) -> None:
        """A phase to be written soon."""
        with self._changed:
            self._phase = name
            self._changed.notify_all()

    def flush(self, has_given_up: Callable[[], bool]) -> bool:
        """Waits until all is written, or has_given_up says so; answers whether it is.

        Raises what ended the writing, if something has.
        """
        with self._changed:
            self._hurries = True
            self._changed.notify_all()
            while self._has_news() and self.error is None and not has_given_up():
                self._changed.wait(timeout=0.1)
        self.check()
        return not self._has_news()

    def check(self) -> None:
        """Raises what ended the writing: LeaseLostError, or an error that nobody foresaw."""
        if self.error is not None:
            raise self.error

    def _has_news(self) -> bool:
        return bool(self._epochs) or self._phase is not None

    def _run(self) -> None:
        pause, longest = RETRY_SECONDS
        while self._wait_for_work():
            try:
                self._work()
                pause = RETRY_SECONDS[0]
                continue
            except OUTAGES as error:
                _log.warning(
                    "run %s: the database is away, its progress is kept: %s",
                    self._lease.run_id,
                    first_line(error),
                )
            except Exception as error:  # noqa: BLE001 - told to the supervisor by `check`
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._changed.wait_for(lambda: self._stops, timeout=pause)
            pause = min(2 * pause, longest)

    def _wait_for_work(self) -> bool:
        """Waits until there is something to write or to look for; False at the end."""
        with self._changed:
            while not self._stops:
                due = min(self._write_due(), self._looked_at + LOOK_SECONDS)
                if (left := due - time.monotonic()) <= 0:
                    return True
                self._changed.wait(timeout=left)
        return False

    def _write_due(self) -> float:
        wait = self._heartbeat_seconds
        if self._has_news():
            wait = 0.0 if self._hurries else min(wait, WRITE_SECONDS)
        return self._written_at + wait

    def _work(self) -> None:
        with self._changed:
            epochs, phase = self._epochs[:MAX_EPOCHS], self._phase
            is_due = self._write_due() <= time.monotonic()
        if not is_due:
            state = self._look()
        elif epochs or phase:
            state = claims.record_progress(self._db, self._lease, epochs, phase=phase)
        else:
            state = claims.beat(self._db, self._lease)
        with self._changed:
            self._looked_at = time.monotonic()
            self.is_cancelled = state is State.CANCELLING
            if is_due:
                self._written_at = self._looked_at
                del self._epochs[: len(epochs)]
                self._phase = None if self._phase == phase else self._phase
            self._changed.notify_all()

    def _look(self) -> State:
        query = select(Run.state).where(
            Run.id == self._lease.run_id, Run.attempt == self._lease.attempt
        )
        with self._db.read() as session:
            state = session.exec(query).first()
        if state not in ACTIVE:
            raise LeaseLostError(self._lease.run_id, self._lease.attempt)
        return State(state)


def first_line(error: Exception) -> str:
    """What an error says, without a database's further explanations."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
