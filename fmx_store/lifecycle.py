"""How the states of a job and its runs hang together.

Every function works inside a caller's write transaction that has locked the job's row first
(`lock_job`), always before any run of it, so that two transactions can't wait for each other.
"""

from typing import Any, TypeVar

from sqlmodel import Session, col, delete, select

from fmx_store.database import Ring
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.states import (
    ACTIVE,
    COLLATION_TRANSITIONS,
    ENDED,
    JOB_TRANSITIONS,
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
    """The job's trainings, each after those it needs, then its collation."""
    query = select(Run).where(Run.job_id == job.id).order_by(col(Run.position))
    return list(session.exec(query))


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
    _put(session, job, run, to, reason, error)
    if to in ENDED:
        _release_dependents(session, job, run)


def _put(
    session: Session,
    job: Job,
    run: Run,
    to: State,
    reason: Reason | None,
    error: dict[str, Any] | None = None,
) -> None:
    """Moves a run alone; one that its worker no longer holds keeps no staged file alive."""
    was_held = run.state in ACTIVE
    collates = run.role is Role.COLLATION
    move(run, to, COLLATION_TRANSITIONS if collates else TRAINING_TRANSITIONS, reason)
    run.error = error
    run.phase = to.value
    note(session, job, "run", run, state=to, reason=reason, worker=run.worker, crashes=run.crashes)
    if was_held and to not in ACTIVE:
        run.worker = None
        session.exec(delete(Pin).where(col(Pin.run_id) == run.id))


def _release_dependents(session: Session, job: Job, run: Run) -> None:
    needs = select(Run).join(RunNeed, col(RunNeed.run_id) == col(Run.id))
    for dependent in session.exec(needs.where(RunNeed.needs_id == run.id)).all():
        if dependent.state is not State.QUEUED:
            continue
        if dependent.role is Role.COLLATION or run.state is State.SUCCEEDED:
            dependent.waiting_for -= 1
            if dependent.waiting_for == 0:
                ring(session, dependent)
        else:
            error = {"code": "dependency_failed", "message": f"run {run.name} did not succeed"}
            move_run(session, job, dependent, State.FAILED, Reason.DEPENDENCY_FAILED, error)


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
        job.error = {"run": failed.name, **(failed.error or {})}
        move_job(session, job, State.FAILED, failed.reason)


def cancel_all(session: Session, job: Job) -> None:
    """Cancels what waits, which releases nothing, and asks what runs to stop."""
    runs = runs_of(session, job)
    for run in runs:
        if run.state is State.QUEUED:
            _put(session, job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
        elif run.state is State.RUNNING:
            _put(session, job, run, State.CANCELLING, Reason.CANCELLED_BY_USER)
    if job.state is State.QUEUED:
        move_job(session, job, State.CANCELLED, Reason.CANCELLED_BY_USER)
        return
    move_job(session, job, State.CANCELLING, Reason.CANCELLED_BY_USER)
    if not any(run.state in ACTIVE for run in runs):
        move_job(session, job, State.CANCELLED, Reason.CANCELLED_BY_USER)
