"""What running trainings report, and how it is written."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from fmx_ml.sinks import EpochMetrics
from fmx_store import checkpoints, logs
from fmx_store.checkpoints import StoredCheckpoint
from fmx_store.lifecycle import note
from fmx_store.logs import Logged
from fmx_store.metrics import write_epochs
from fmx_store.tables import Job, Run

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
    logged: Logged | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return self.is_visible or self.checkpoint is not None or self.logged is not None

    @property
    def is_visible(self) -> bool:
        """Whether a reader of the job can see it."""
        return bool(self.epochs) or self.phase is not None or self.resumed_at is not None


def write_progress(session: Session, job: Job, told: Sequence[tuple[Run, Progress]]) -> None:
    """Writes what locked runs have reported, and renews their leases; notes what is to be seen."""
    version = job.version
    for run, each in told:
        if each.resumed_at is not None:
            checkpoints.rewind(session, run, each.resumed_at)
            note(session, job, "rewound", run, epoch=each.resumed_at)
    epochs = {run.id: each.epochs for run, each in told if each.epochs}
    if epochs:
        write_epochs(session, {run.id: run.attempt for run, _ in told}, epochs)
        _note_epochs(session, job, told)
    logs.append(session, [(run, each.logged) for run, each in told if each.logged])
    for run, each in told:
        _write(session, run, each)
    if job.version == version and any(each.is_visible for _, each in told):
        job.version += 1


def _note_epochs(session: Session, job: Job, told: Sequence[tuple[Run, Progress]]) -> None:
    """Notes the epochs that are new, in one event; those written once more were noted before."""
    new = [
        (run.position, run.attempt, run.epochs_done + 1, last)
        for run, each in told
        if (last := max((metrics.epoch for metrics in each.epochs), default=0)) > run.epochs_done
    ]
    if new:
        note(session, job, "epochs", epochs=new)


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
