"""How the states of a job and its runs hang together.

Every function works inside a caller's write transaction that has locked the job's row first
(`lock_job`), always before any run of it, so that two transactions can't wait for each other.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import func
from sqlalchemy.orm import defer
from sqlmodel import Session, col, delete, select, update

from fmx_store.checkpoints import drop_all
from fmx_store.database import Ring
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.needs import find_dependents
from fmx_store.states import (
    ACTIVE,
    COLLATION_TRANSITIONS,
    ENDED,
    JOB_TRANSITIONS,
    RESUMABLE,
    TRAINING_TRANSITIONS,
    Reason,
    Role,
    State,
    move,
)
from fmx_store.tables import Event, Job, Pin, Run, RunNeed, now

T = TypeVar("T", Job, Run)

CPU_QUEUE = "cpu"
GPU_QUEUE = "gpu"

# A run without its JSON, which may be large and says nothing of how the runs of a job hang
# together. It can be set, and reading it is an error.
LIGHT = tuple(
    defer(column, raiseload=True)  # pyright: ignore[reportArgumentType] - a column is one
    for column in (col(Run.training), col(Run.summary), col(Run.error))
)


def queue_of(device: str) -> str:
    """The queue whose workers can do a run: GPU workers listen to both, so `auto` is on cpu."""
    return GPU_QUEUE if device == "cuda" else CPU_QUEUE


def lock_job(session: Session, job_id: str) -> Job:
    """The job, locked until the transaction ends. Raises NotFoundError."""
    job = get_locked(session, Job, job_id) if is_id(job_id) else None
    if job is None:
        raise NotFoundError("job", job_id)
    return job


def get_locked(session: Session, table: type[T], identity: str) -> T | None:
    """A row as it is now, locked until the transaction ends."""
    return session.get(table, identity, with_for_update=True, populate_existing=True)


def runs_of(session: Session, job: Job) -> list[Run]:
    """The job's trainings, each after those it needs, then its collation; without their JSON."""
    query = select(Run).where(Run.job_id == job.id).order_by(col(Run.position))
    return list(session.exec(query.options(*LIGHT)))


def note(session: Session, job: Job, kind: str, run: Run | None = None, **data: Any) -> None:
    """Appends an event and raises the job's version to its number."""
    job.version += 1
    session.add(
        Event(
            job_id=job.id,
            seq=job.version,
            type=kind,
            run_id=run.id if run else None,
            attempt=run.attempt if run else None,
            data=data,
        )
    )


def ring(session: Session, run: Run) -> None:
    """Announces a due run after the commit."""
    rings: list[Ring] = session.info["rings"]
    rings.append((run.id, queue_of(run.device)))
    run.rung_at = now()


def move_job(session: Session, job: Job, to: State, reason: Reason | None = None) -> None:
    """Moves a job and says so."""
    move(job, to, JOB_TRANSITIONS, reason)
    note(session, job, "job", state=to, reason=reason)


def move_run(
    session: Session,
    job: Job,
    run: Run,
    to: State,
    reason: Reason | None = None,
    error: dict[str, Any] | None = None,
) -> None:
    """Moves a run and says so; a run that ends releases, or fails, what waits for it."""
    put_run(session, job, run, to, reason, error)
    if to in ENDED:
        _release_dependents(session, job, run)


def put_run(
    session: Session,
    job: Job,
    run: Run,
    to: State,
    reason: Reason | None = None,
    error: dict[str, Any] | None = None,
) -> None:
    """Moves a run alone; one that its worker no longer holds keeps no staged file alive.

    One that has ended keeps no checkpoint, unless a retry could go on from it.
    """
    was_held = run.state in ACTIVE
    collates = run.role is Role.COLLATION
    move(run, to, COLLATION_TRANSITIONS if collates else TRAINING_TRANSITIONS, reason)
    run.error = error
    run.phase = to.value
    note(session, job, "run", run, state=to, reason=reason, worker=run.worker, crashes=run.crashes)
    if was_held and to not in ACTIVE:
        run.worker = None
        session.exec(delete(Pin).where(col(Pin.run_id) == run.id))
    if to in ENDED and reason not in RESUMABLE:
        drop_all(session, run)


def _release_dependents(session: Session, job: Job, run: Run) -> None:
    """Counts a run that has ended as met, or fails all trainings that need it, however far down."""
    if run.role is Role.COLLATION:
        return
    failed = [] if run.state is State.SUCCEEDED else _fail_dependents(session, job, run)
    for due in _count_met(session, [run.id, *failed]):
        ring(session, due)


def _count_met(session: Session, ended: Sequence[str]) -> Sequence[Run]:
    """Lets queued runs wait for so many less; answers those that wait for none any more.

    In one statement, since hundreds may wait for one run.
    """
    met = col(RunNeed.needs_id).in_(ended)
    num_met = select(func.count()).where(met, RunNeed.run_id == Run.id).scalar_subquery()
    left = session.exec(
        update(Run)
        .where(col(Run.id).in_(select(RunNeed.run_id).where(met)), col(Run.state) == State.QUEUED)
        .values(waiting_for=Run.waiting_for - num_met)
        .returning(col(Run.id), col(Run.waiting_for))
    ).all()
    due = [run_id for run_id, waiting_for in left if waiting_for == 0]
    query = select(Run).where(col(Run.id).in_(due)).order_by(col(Run.position))
    return session.exec(query.options(*LIGHT)).all()


def _fail_dependents(session: Session, job: Job, failed: Run) -> list[str]:
    """Fails the queued trainings that need a run, directly or through others; answers their ids."""
    error = {"code": "dependency_failed", "message": f"run {failed.name} did not succeed"}
    query = select(Run).where(
        col(Run.id).in_(find_dependents(session, failed)), Run.state == State.QUEUED
    )
    found = session.exec(query.order_by(col(Run.position)).options(*LIGHT)).all()
    for run in found:
        put_run(session, job, run, State.FAILED, Reason.DEPENDENCY_FAILED, error)
    return [run.id for run in found]


def requeue(session: Session, job: Job, run: Run) -> None:
    """Puts a run that a worker held back to the queue."""
    move_run(session, job, run, State.QUEUED)
    ring(session, run)


def settle(session: Session, job: Job) -> None:
    """Ends the job when its runs have ended; a job of which nothing succeeded is not collated."""
    goes_on = select(Run.id).where(
        Run.job_id == job.id, Run.role == Role.TRAINING, col(Run.state).not_in(ENDED)
    )
    if session.exec(goes_on.limit(1)).first() is not None:
        return
    *trainings, collation = runs = runs_of(session, job)
    succeeded = any(run.state is State.SUCCEEDED for run in trainings)
    if collation.state is State.QUEUED and not succeeded:
        move_run(session, job, collation, State.CANCELLED, Reason.DEPENDENCY_FAILED)
    if collation.state not in ENDED or job.state in ENDED:
        return
    if job.state is State.CANCELLING:
        move_job(session, job, State.CANCELLED, Reason.CANCELLED_BY_USER)
    elif all(run.state is State.SUCCEEDED for run in runs):
        move_job(session, job, State.SUCCEEDED)
    else:
        failed = next(run for run in runs if run.state is not State.SUCCEEDED)
        error = session.exec(select(Run.error).where(Run.id == failed.id)).one()
        job.error = {"run": failed.name, **(error or {})}
        move_job(session, job, State.FAILED, failed.reason)


def cancel_all(session: Session, job: Job) -> None:
    """Cancels what waits, which releases nothing, and asks what runs to stop."""
    runs = runs_of(session, job)
    for run in runs:
        if run.state is State.QUEUED:
            put_run(session, job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
        elif run.state is State.RUNNING:
            put_run(session, job, run, State.CANCELLING, Reason.CANCELLED_BY_USER)
    if job.state is State.QUEUED:
        move_job(session, job, State.CANCELLED, Reason.CANCELLED_BY_USER)
        return
    move_job(session, job, State.CANCELLING, Reason.CANCELLED_BY_USER)
    if not any(run.state in ACTIVE for run in runs):
        move_job(session, job, State.CANCELLED, Reason.CANCELLED_BY_USER)
