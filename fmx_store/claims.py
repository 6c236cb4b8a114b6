"""Who owns a run: claim, progress, finish, hand back, take back.

A claim raises the run's attempt number, the fencing token. Every write shows it, and a write
whose token is no longer the run's raises LeaseLostError and leaves nothing behind.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, delete, select, update

from fmx_ml.sinks import EpochMetrics
from fmx_store.database import Database
from fmx_store.errors import LeaseLostError
from fmx_store.lifecycle import move_job, move_run, note, requeue, settle
from fmx_store.states import ACTIVE, Reason, Role, State
from fmx_store.tables import Artifact, Job, Metric, Model, Pin, Run

CLAIM_TRIES = 50  # a locked job is passed over and looked at again
CLAIM_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Lease:
    """What a worker holds of a run: its id and the token of this attempt."""

    run_id: str
    job_id: str
    attempt: int


@dataclass(frozen=True)
class Claim:
    """A run that was claimed, as it was then, and the job it belongs to."""

    lease: Lease
    job: Job
    run: Run


@dataclass(frozen=True)
class StagedFile:
    """A stored file that will become an artifact of its run."""

    path: str
    sha256: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class Success:
    """How a run ended well. `results` is what a collation made; `model` asks for a model's row."""

    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    files: Sequence[StagedFile] = ()
    model: bool = False
    results: dict[str, Any] | None = None


@dataclass(frozen=True)
class Failure:
    """How a run ended badly; the files are its log, and whatever else it left."""

    reason: Reason
    code: str
    message: str
    traceback: str | None = None
    files: Sequence[StagedFile] = ()


@dataclass(frozen=True)
class Heartbeat:
    """An active run's token and counter, as a reaper watches them."""

    run_id: str
    job_id: str
    attempt: int
    beat: int


def claim(db: Database, worker: str, devices: Sequence[str]) -> Claim | None:
    """The most urgent due run that one of `devices` can do: by priority, then age.

    None where nothing is due. Any number of workers may call this at once; each run goes to one.
    """
    for _ in range(CLAIM_TRIES):
        try:
            with db.write() as session:
                return _claim(session, worker, devices)
        except OperationalError as error:
            if db.is_sqlite or getattr(error.orig, "sqlstate", "") != "55P03":  # lock_not_available
                raise
        time.sleep(CLAIM_PAUSE_SECONDS * random.random())  # noqa: S311 - a jitter
    return None


def _claim(session: Session, worker: str, devices: Sequence[str]) -> Claim | None:
    due = (
        select(Run)
        .where(Run.state == State.QUEUED, Run.waiting_for == 0, col(Run.device).in_(devices))
        .order_by(col(Run.priority).desc(), col(Run.job_id), col(Run.position))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    run = session.exec(due).first()
    if run is None:
        return None
    # This transaction holds a run before its job, against the order of all others: so it never
    # waits for the job, it gives up and looks again.
    job = session.get(Job, run.job_id, with_for_update={"nowait": True})
    if job is None:
        return None
    run.attempt += 1
    run.beat = 0
    run.epochs_done = 0
    run.seconds_per_epoch = None
    run.worker = worker
    session.exec(delete(Metric).where(col(Metric.run_id) == run.id))
    session.exec(delete(Pin).where(col(Pin.run_id) == run.id))
    if job.state is State.QUEUED:
        move_job(session, job, State.RUNNING)
    move_run(session, job, run, State.RUNNING)
    run.phase = "starting"
    lease = Lease(run_id=run.id, job_id=run.job_id, attempt=run.attempt)
    return Claim(lease=lease, job=job, run=run)


def hold(session: Session, lease: Lease) -> tuple[Job, Run]:
    """The job (locked) and the run of a lease. Raises LeaseLostError where it is lost."""
    job = session.get(Job, lease.job_id, with_for_update=True)
    run = session.get(Run, lease.run_id, with_for_update=True)
    if job is None or run is None or run.attempt != lease.attempt or run.state not in ACTIVE:
        raise LeaseLostError(lease.run_id, lease.attempt)
    return job, run


def beat(db: Database, lease: Lease) -> State:
    """Renews the lease; answers RUNNING, or CANCELLING where the run should stop."""
    with db.write() as session:
        row = session.exec(
            update(Run)
            .where(
                col(Run.id) == lease.run_id,
                col(Run.attempt) == lease.attempt,
                col(Run.state).in_(ACTIVE),
            )
            .values(beat=Run.beat + 1)
            .returning(col(Run.state))
        ).first()
    if row is None:
        raise LeaseLostError(lease.run_id, lease.attempt)
    return row[0]


def record_progress(
    db: Database,
    lease: Lease,
    epochs: Sequence[EpochMetrics] = (),
    *,
    phase: str | None = None,
) -> State:
    """Writes epochs and the phase under the token, and renews the lease.

    Writing an epoch twice leaves it once, so a caller may repeat what it is not sure of.
    """
    with db.write() as session:
        job, run = hold(session, lease)
        for metrics in epochs:
            session.merge(Metric(run_id=run.id, attempt=run.attempt, **metrics.model_dump()))
        if epochs:
            run.epochs_done = max(run.epochs_done, epochs[-1].epoch)
            run.seconds_per_epoch = sum(e.seconds for e in epochs) / len(epochs)
        if phase:
            run.phase = phase
        run.beat += 1
        job.version += 1
        return run.state


def finish(db: Database, lease: Lease, outcome: Success | Failure) -> State:
    """Ends a run, publishes its files and settles its job; answers the state it ended in.

    A run that was being cancelled ends as cancelled, whatever its outcome.
    """
    with db.write() as session:
        job, run = hold(session, lease)
        session.exec(delete(Artifact).where(col(Artifact.run_id) == run.id))
        for file in outcome.files:
            session.add(Artifact(job_id=job.id, run_id=run.id, **vars(file)))
        session.exec(delete(Pin).where(col(Pin.run_id) == run.id))
        session.flush()
        if outcome.files:
            note(session, job, "artifacts", run, paths=[file.path for file in outcome.files])
        if run.state is State.CANCELLING:
            move_run(session, job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
        elif isinstance(outcome, Success):
            _succeed(session, job, run, outcome)
        else:
            error = {"code": outcome.code, "message": outcome.message}
            if outcome.traceback:
                error["traceback"] = outcome.traceback
            move_run(session, job, run, State.FAILED, outcome.reason, error)
        settle(session, job)
        return run.state


def _succeed(session: Session, job: Job, run: Run, outcome: Success) -> None:
    run.summary = outcome.summary
    run.epochs_total = run.epochs_done
    if run.role is Role.COLLATION:
        job.results = outcome.results
    if outcome.model:
        session.add(
            Model(
                run_id=run.id,
                job_id=job.id,
                kind=job.kind,
                run_name=run.name,
                dataset=job.spec["dataset"],
                val_accuracy=outcome.summary.get("val_accuracy"),
                test_accuracy=outcome.summary.get("test_accuracy"),
            )
        )
    move_run(session, job, run, State.SUCCEEDED)


def hand_back(db: Database, lease: Lease) -> State:
    """Puts a run back to the queue because its worker stops; this is no crash."""
    with db.write() as session:
        job, run = hold(session, lease)
        return _give_up(session, job, run)


def report_crash(db: Database, lease: Lease, message: str, max_crashes: int) -> State:
    """Counts a crash of the run's process: back to the queue, or failed after too many."""
    with db.write() as session:
        job, run = hold(session, lease)
        return _crash(session, job, run, message, max_crashes)


def active(db: Database) -> list[Heartbeat]:
    """Every run that a worker holds."""
    with db.read() as session:
        columns = select(Run.id, Run.job_id, Run.attempt, Run.beat)
        return [Heartbeat(*row) for row in session.exec(columns.where(col(Run.state).in_(ACTIVE)))]


def take_back(db: Database, seen: Heartbeat, max_crashes: int) -> bool:
    """Takes a run from a worker that fell silent; False where it has moved since it was seen."""
    lease = Lease(run_id=seen.run_id, job_id=seen.job_id, attempt=seen.attempt)
    try:
        with db.write() as session:
            job, run = hold(session, lease)
            if run.beat != seen.beat:
                return False
            _crash(session, job, run, f"worker {run.worker} fell silent", max_crashes)
    except LeaseLostError:
        return False
    return True


def _crash(session: Session, job: Job, run: Run, message: str, max_crashes: int) -> State:
    run.crashes += 1
    if run.state is State.RUNNING and run.crashes >= max_crashes:
        error = {"code": "worker_lost", "message": f"{message} ({run.crashes} times)"}
        move_run(session, job, run, State.FAILED, Reason.WORKER_LOST, error)
        settle(session, job)
        return run.state
    return _give_up(session, job, run)


def _give_up(session: Session, job: Job, run: Run) -> State:
    session.exec(delete(Pin).where(col(Pin.run_id) == run.id))
    if run.state is State.CANCELLING:
        move_run(session, job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
        settle(session, job)
    else:
        requeue(session, job, run)
    return run.state
