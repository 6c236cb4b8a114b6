"""What running trainings report, and how it is written."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from fmx_ml.sinks import EpochMetrics
from fmx_store import checkpoints
from fmx_store.checkpoints import StoredCheckpoint
from fmx_store.metrics import write_epochs
from fmx_store.tables import Run

MAX_PHASE = 40


@dataclass(frozen=True)
class Progress:
    """What a run has reported; nothing of it only renews the lease.

    `resumed_at` is the epoch that it goes on after, where that is not the newest checkpoint's. A
    checkpoint's epochs are all reported with it, or before.
    """

    epochs: Sequence[EpochMetrics] = ()
    phase: str | None = None
    checkpoint: StoredCheckpoint | None = None
    resumed_at: int | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return self.is_visible or self.checkpoint is not None

    @property
    def is_visible(self) -> bool:
        """Whether a reader of the job can see it."""
        return bool(self.epochs) or self.phase is not None or self.resumed_at is not None


def write_progress(session: Session, told: Sequence[tuple[Run, Progress]]) -> None:
    """Writes what locked runs have reported, and renews their leases."""
    for run, each in told:
        if each.resumed_at is not None:
            checkpoints.rewind(session, run, each.resumed_at)
    epochs = {run.id: each.epochs for run, each in told if each.epochs}
    if epochs:
        write_epochs(session, {run.id: run.attempt for run, _ in told}, epochs)
    for run, each in told:
        _write(session, run, each)


def _write(session: Session, run: Run, progress: Progress) -> None:
    run.beat += 1
    if progress.phase:
        run.phase = progress.phase[:MAX_PHASE]
    if progress.epochs:
        seconds = {metrics.epoch: metrics.seconds for metrics in progress.epochs}
        run.epochs_done = max(run.epochs_done, *seconds)
        run.seconds_per_epoch = statistics.fmean(seconds.values())
    if progress.checkpoint:
        checkpoints.add(session, run, progress.checkpoint)
