"""How the states of a job and its runs hang together.

Every function works inside a caller's write transaction that has locked the job's row first
(`lock_job`), always before any run of it, so that two transactions can't wait for each other.
"""

from typing import Any

from sqlmodel import Session, col, select

from fmx_store.database import Ring
from fmx_store.errors import NotFoundError
from fmx_store.states import ACTIVE, ENDED, Reason, Role, State, move
from fmx_store.tables import Event, Job, Run, RunNeed, now

CPU_QUEUE = "cpu"
GPU_QUEUE = "gpu"


def queue_of(device: str) -> str:
    """The queue whose workers can do a run: GPU workers listen to both, so `auto` is on cpu."""
    return GPU_QUEUE if device == "cuda" else CPU_QUEUE


def lock_job(session: Session, job_id: str) -> Job:
    """The job, locked until the transaction ends. Raises NotFoundError."""
    job = session.get(Job, job_id, with_for_update=True)
    if job is None:
        raise NotFoundError("job", job_id)
    return job


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
    move(job, to, reason)
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
    move(run, to, reason)
    run.error = error
    run.phase = to.value
    note(session, job, "run", run, state=to, reason=reason)
    if to in ENDED:
        run.worker = None
        _release_dependents(session, job, run)


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
    run.worker = None
    ring(session, run)


def settle(session: Session, job: Job) -> None:
    """Ends the job when its runs have ended; a job of which nothing succeeded is not collated."""
    runs = runs_of(session, job)
    trainings = [run for run in runs if run.role is Role.TRAINING]
    collation = runs[-1]
    if not all(run.state in ENDED for run in trainings):
        return
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
    """Cancels what waits and asks what runs to stop; the last one first, so nothing is released."""
    for run in reversed(runs_of(session, job)):
        if run.state is State.QUEUED:
            move_run(session, job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
        elif run.state is State.RUNNING:
            move_run(session, job, run, State.CANCELLING, Reason.CANCELLED_BY_USER)
    if job.state is State.QUEUED:
        move_job(session, job, State.CANCELLED, Reason.CANCELLED_BY_USER)
        return
    move_job(session, job, State.CANCELLING, Reason.CANCELLED_BY_USER)
    if not any(run.state in ACTIVE for run in runs_of(session, job)):
        move_job(session, job, State.CANCELLED, Reason.CANCELLED_BY_USER)
