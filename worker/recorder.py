"""Writes the progress of runs and renews their leases, in a thread of its own.

The database may be slow or away for a while: the trainings go on meanwhile, and what they have
reported is kept until it is written. Only the loss of a lease ends this for its run.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fmx_ml.sinks import EpochMetrics
from fmx_store import claims
from fmx_store.checkpoints import StoredCheckpoint
from fmx_store.claims import Lease
from fmx_store.database import OUTAGES, Database
from fmx_store.errors import LeaseLostError
from fmx_store.log_format import make_thread
from fmx_store.logs import Logged
from fmx_store.progress import Progress
from fmx_store.states import State
from worker.log_tail import LogTail

T = TypeVar("T")

WRITE_SECONDS = 0.3  # between two writes: many short epochs go in one
LOG_SECONDS = 1.0  # between two writes that take the logs' new lines along
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


@dataclass
class _News:
    """What a run has reported and is not written yet."""

    epochs: list[EpochMetrics] = field(default_factory=list[EpochMetrics])
    phase: str | None = None
    checkpoint: StoredCheckpoint | None = None
    resumed_at: int | None = None
    log: LogTail | None = None  # read whenever something is written
    is_last: bool = False  # nothing more will be reported, so the rest of the log is news too

    def __bool__(self) -> bool:
        return bool(self.take(len(self.epochs))) or (self.is_last and self.read_log() is not None)

    def read_log(self) -> Logged | None:
        return self.log.read(is_whole=self.is_last) if self.log else None

    def take(self, room: int) -> Progress:
        """What is to be written now, with so many epochs at most; a checkpoint after its epochs."""
        epochs, later = tuple(self.epochs[:room]), self.epochs[room:]
        is_early = self.checkpoint and later and later[0].epoch <= self.checkpoint.epoch
        checkpoint = None if is_early else self.checkpoint
        return Progress(epochs, self.phase, checkpoint, self.resumed_at)

    def forget(self, written: Progress) -> None:
        del self.epochs[: len(written.epochs)]
        self.phase = None if self.phase == written.phase else self.phase
        self.checkpoint = None if self.checkpoint == written.checkpoint else self.checkpoint
        self.resumed_at = None if self.resumed_at == written.resumed_at else self.resumed_at
        if self.log and written.logged:
            self.log.forget(written.logged)


class Recorder:
    """Keeps leases of one job and writes what it is given under them."""

    def __init__(
        self,
        db: Database,
        leases: Sequence[Lease],
        heartbeat_seconds: float,
        logs: Mapping[Lease, LogTail] | None = None,
    ) -> None:
        """Nothing is written before `start`; of `logs` what is new, with whatever is written."""
        self._db, self._heartbeat_seconds = db, heartbeat_seconds
        self._changed = threading.Condition()
        found = logs or {}
        self._news = {lease: _News(log=found.get(lease)) for lease in leases}  # of those held
        self._hurries = self._stops = False
        # The claim was the first sign of life.
        self._written_at = self._looked_at = self._logged_at = time.monotonic()
        self._thread = make_thread(self._run, "recorder")
        self._label = f"run {leases[0].run_id}"
        self.lost: set[Lease] = set()
        self.is_cancelled = False  # the record wants the runs to stop
        self.error: Exception | None = None  # why nothing more is written, if so

    def start(self) -> None:
        """Begins to keep the leases."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread. What was not written by `flush` is dropped."""
        with self._changed:
            self._stops = True
            self._changed.notify_all()
        # A write that hangs holds no one up: after a run's end its token is worth nothing.
        self._thread.join(timeout=5)

    def add_epoch(self, lease: Lease, metrics: EpochMetrics) -> None:
        """An epoch to be written soon."""
        with self._changed:
            if lease in self._news:
                self._news[lease].epochs.append(metrics)
                self._changed.notify_all()

    def set_phase(self, lease: Lease, name: str) -> None:
        """A phase to be written soon."""
        with self._changed:
            if lease in self._news:
                self._news[lease].phase = name
                self._changed.notify_all()

    def add_checkpoint(self, lease: Lease, stored: StoredCheckpoint) -> None:
        """A stored checkpoint, whose epochs have been added, to be written soon."""
        with self._changed:
            if lease in self._news:
                self._news[lease].checkpoint = stored
                self._changed.notify_all()

    def has_checkpoint(self, lease: Lease) -> bool:
        """Whether one is still to be written."""
        with self._changed:
            return lease in self._news and self._news[lease].checkpoint is not None

    def rewind(self, lease: Lease, epoch: int) -> None:
        """A run goes on after an earlier epoch than what the record has; before any of its own."""
        with self._changed:
            if lease in self._news:
                self._news[lease].resumed_at = epoch
                self._changed.notify_all()

    def release(self, lease: Lease) -> None:
        """Keeps a lease no longer."""
        with self._changed:
            self._news.pop(lease, None)

    def flush(self, lease: Lease, has_given_up: Callable[[], bool]) -> bool:
        """Waits until all of a run is written, or has_given_up says so; answers whether it is.

        Raises LeaseLostError, and what ended the writing, if something has.
        """
        with self._changed:
            self._hurries = True
            if lease in self._news:
                self._news[lease].is_last = True
            self._changed.notify_all()
            while self._news.get(lease) and self.error is None and not has_given_up():
                self._changed.wait(timeout=0.1)
            self._hurries = False
        self.check()
        if lease in self.lost:
            raise LeaseLostError(lease.run_id, lease.attempt)
        return not self._news.get(lease)

    def check(self) -> None:
        """Raises what ended the writing: an error that nobody foresaw."""
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        pause, longest = RETRY_SECONDS
        while self._wait_for_work():
            try:
                self._work()
                pause = RETRY_SECONDS[0]
                continue
            except OUTAGES as error:
                _log.warning(
                    "%s: the database is away, its progress is kept: %s",
                    self._label,
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
                left = due - time.monotonic()
                if self._news and left <= 0:
                    return True
                self._changed.wait(timeout=left if self._news else None)
        return False

    def _write_due(self) -> float:
        wait = self._heartbeat_seconds
        if any(self._news.values()):
            wait = 0.0 if self._hurries else min(wait, WRITE_SECONDS)
        return self._written_at + wait

    def _logs_are_due(self) -> bool:
        return self._hurries or self._logged_at + LOG_SECONDS <= time.monotonic()

    def _work(self) -> None:
        with self._changed:
            is_due = self._write_due() <= time.monotonic()
            with_logs = is_due and self._logs_are_due()
            progress = _take_of(self._news, with_logs=with_logs)
        if not progress:
            return
        if not is_due:
            states = claims.look_at(self._db, list(progress))
        elif any(progress.values()):
            states = claims.record_all(self._db, progress)
        else:
            states = claims.beat_all(self._db, list(progress))
        with self._changed:
            self._learn(progress if is_due else dict.fromkeys(progress, Progress()), states)
            self._looked_at = time.monotonic()
            self._written_at = self._looked_at if is_due else self._written_at
            self._logged_at = self._looked_at if with_logs else self._logged_at
            self._changed.notify_all()

    def _learn(self, written: Mapping[Lease, Progress], states: Mapping[Lease, State]) -> None:
        # Of those still held: the end of one that was released meanwhile is no loss.
        for lease in written.keys() & self._news.keys():
            if lease in states:
                self._news[lease].forget(written[lease])
            else:
                self.lost.add(lease)
                del self._news[lease]
        self.is_cancelled = self.is_cancelled or State.CANCELLING in states.values()


def _take_of(news: Mapping[Lease, _News], *, with_logs: bool) -> dict[Lease, Progress]:
    """What is to be written now: all that is held, and no more epochs than fit into one write."""
    room = MAX_EPOCHS
    progress: dict[Lease, Progress] = {}
    for lease, each in news.items():
        logged = each.read_log() if with_logs else None
        progress[lease] = replace(each.take(room), logged=logged)
        room -= len(progress[lease].epochs)
    return progress


def first_line(error: Exception) -> str:
    """What an error says, without a database's further explanations."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
