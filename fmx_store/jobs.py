"""Jobs: submit, find, list, cancel, retry, delete. Each function is one transaction.

What a record does not show its viewer is not found in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func
from sqlmodel import Session, col, delete, select

from fmx_ml.requests import JobRequest
from fmx_store.aliases import names_of_job
from fmx_store.database import Database
from fmx_store.errors import ConflictError, CursorError, NotFoundError
from fmx_store.ids import is_id
from fmx_store.lifecycle import cancel_all, lock_job, move_job, move_run, note, ring, runs_of
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.overviews import HEADS, Overview, complete
from fmx_store.pages import Page, decode_cursor, make_page
from fmx_store.states import ACTIVE, ENDED, Role, State
from fmx_store.submissions import Submission, record
from fmx_store.tables import Artifact, Checkpoint, Idempotency, Job, JobTag, Run, RunNeed, table_of
from fmx_store.texts import is_storable
from fmx_store.viewers import Record, only_seen, shows

_JOB, _TAG = table_of(Job), table_of(JobTag)


@dataclass(frozen=True)
class Submitted:
    """A job that was recorded, now or by an earlier request with the same key."""

    job: Job
    replayed: bool


def submit(
    db: Database, request: JobRequest, max_runs: int, idempotency: IdempotencyKey | None = None
) -> Submitted:
    """Records a job and its runs. Raises what `submissions.record` does."""
    recorded = record(db, Submission(request, idempotency), max_runs)
    return Submitted(require_job(db, recorded.job_id), recorded.replayed)


def _require(record: Record, session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id) if is_id(job_id) else None
    if job is None or not shows(record, job.owner):
        raise NotFoundError("job", job_id)
    return job


def _lock(record: Record, session: Session, job_id: str) -> Job:
    job = lock_job(session, job_id)
    if not shows(record, job.owner):
        raise NotFoundError("job", job_id)
    return job


def require_job(db: Record, job_id: str) -> Job:
    """The job. Raises NotFoundError."""
    with db.read() as session:
        return _require(db, session, job_id)


def list_runs(db: Record, job_id: str) -> list[Run]:
    """The job's trainings and, last, its collation. Raises NotFoundError."""
    with db.read() as session:
        job = _require(db, session, job_id)
        query = select(Run).where(Run.job_id == job.id).order_by(col(Run.position))
        return list(session.exec(query))


def list_trainings(db: Record, job_ids: Sequence[str], limit: int) -> Sequence[Run]:
    """Trainings of those of the jobs that are shown, the newest jobs' first; `limit` at most."""
    query = (
        select(Run)
        .join(Job, col(Job.id) == col(Run.job_id))
        .where(col(Run.job_id).in_([job_id for job_id in job_ids if is_id(job_id)]))
        .where(Run.role == Role.TRAINING, *only_seen(db, col(Job.owner)))
        .order_by(col(Run.job_id).desc(), col(Run.position))
        .limit(limit)
    )
    with db.read() as session:
        return session.exec(query).all()


def page_runs(db: Record, job_id: str, *, limit: int, cursor: str | None = None) -> Page[Run]:
    """Some of the job's trainings, in the plan's order. Raises NotFoundError, CursorError."""
    with db.read() as session:
        job = _require(db, session, job_id)
        query = select(Run).where(Run.job_id == job.id, Run.role == Role.TRAINING)
        if cursor is not None:
            last = select(Run.position).where(Run.id == decode_cursor(cursor), Run.job_id == job.id)
            position = session.exec(last).first()
            if position is None:
                raise CursorError(cursor)
            query = query.where(Run.position > position)
        found = session.exec(query.order_by(col(Run.position)).limit(limit + 1)).all()
    return make_page(found, limit, lambda run: run.id)


def require_run(db: Record, run_id: str) -> Run:
    """The training run. Raises NotFoundError, for a collation too."""
    query = select(Run).join(Job, col(Job.id) == col(Run.job_id)).where(Run.id == run_id)
    query = query.where(Run.role == Role.TRAINING, *only_seen(db, col(Job.owner)))
    with db.read() as session:
        run = session.exec(query).first() if is_id(run_id) else None
    if run is None:
        raise NotFoundError("run", run_id)
    return run


def list_jobs(
    db: Record,
    *,
    kind: str | None = None,
    state: State | None = None,
    tag: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Overview]:
    """Jobs, newest first, that match every filter given. Raises CursorError."""
    if not is_storable(f"{kind}{tag}"):
        return Page((), None)
    query = HEADS.order_by(_JOB.c.id.desc()).limit(limit + 1)
    if kind is not None:
        query = query.where(_JOB.c.kind == kind)
    if state is not None:
        query = query.where(_JOB.c.state == state)
    if tag is not None:
        query = _with_tag(db, query, tag, is_only_filter=kind is None and state is None)
    else:
        query = query.where(*only_seen(db, _JOB.c.owner))
    if cursor is not None:
        query = query.where(_JOB.c.id < decode_cursor(cursor))
    with db.look() as connection:
        page = make_page(connection.execute(query).all(), limit, lambda head: head.id)
        return Page(complete(connection, page.items), page.next_cursor)


def _with_tag(record: Record, query: Select[Any], tag: str, *, is_only_filter: bool) -> Select[Any]:
    """A query for the jobs that have a tag, of those that are shown.

    Without another filter they are met in the order of the tag's index, or of the owner's tag's,
    which the first page of a common tag reads no further than it needs.
    """
    tagged = (_TAG.c.tag == tag, *only_seen(record, _TAG.c.owner))
    if is_only_filter:
        joined = query.join(_TAG, _TAG.c.job_id == _JOB.c.id).where(*tagged)
        return joined.order_by(None).order_by(_TAG.c.job_id.desc())
    mine = query.where(*only_seen(record, _JOB.c.owner))
    return mine.where(_JOB.c.id.in_(select(_TAG.c.job_id).where(*tagged)))


def cancel(db: Record, job_id: str) -> Job:
    """Cancels a job; again, while it is being cancelled, changes nothing.

    Raises NotFoundError, ConflictError where the job has ended.
    """
    with db.write() as session:
        job = _lock(db, session, job_id)
        if job.state in ENDED:
            raise ConflictError(f"job {job_id} has already {job.state}")
        if job.state is not State.CANCELLING:
            cancel_all(session, job)
        return job


def retry(db: Record, job_id: str) -> Job:
    """Queues again what did not succeed, and the job's collation.

    Raises NotFoundError, ConflictError where the job has not failed or been cancelled.
    """
    with db.write() as session:
        job = _lock(db, session, job_id)
        if job.state not in {State.FAILED, State.CANCELLED}:
            raise ConflictError(
                f"job {job_id} is {job.state}: only a failed or cancelled one retries"
            )
        job.started_at, job.error, job.results = None, None, None
        move_job(session, job, State.QUEUED)
        runs = runs_of(session, job)
        again = [r for r in runs if r.state is not State.SUCCEEDED or r.role is Role.COLLATION]
        for run in again:
            run.crashes, run.started_at, run.epochs_done, run.summary = 0, None, 0, None
            move_run(session, job, run, State.QUEUED)
        session.flush()
        unmet = _count_unmet(session, job)
        for run in again:
            run.waiting_for = unmet.get(run.id, 0)
            if run.waiting_for == 0:
                ring(session, run)
        return job


def _count_unmet(session: Session, job: Job) -> dict[str, int]:
    """How many runs that have not succeeded each run of the job needs, where there are any."""
    needed = (
        select(RunNeed.run_id, func.count())
        .join(Run, col(Run.id) == col(RunNeed.needs_id))
        .where(Run.job_id == job.id, Run.state != State.SUCCEEDED)
        .group_by(col(RunNeed.run_id))
    )
    return dict(session.exec(needed).all())


def remove(db: Record, job_id: str) -> set[str]:
    """Deletes a job and all its rows but its events; answers the sha256 of the files it had.

    Raises NotFoundError, ConflictError while a worker holds one of its runs or an alias names one
    of its models.
    """
    with db.write() as session:
        job = _lock(db, session, job_id)
        if job.state in ACTIVE:
            raise ConflictError(f"job {job_id} is {job.state}: cancel it first")
        _refuse_named(session, job)
        files = set(session.exec(select(Artifact.sha256).where(Artifact.job_id == job_id)))
        note(session, job, "deleted")
        of_runs = select(Checkpoint.sha256).join(Run, col(Run.id) == col(Checkpoint.run_id))
        files |= set(session.exec(of_runs.where(Run.job_id == job_id)))
        session.exec(delete(Idempotency).where(col(Idempotency.job_id) == job_id))
        session.exec(delete(Job).where(col(Job.id) == job_id))
        return files


def _refuse_named(session: Session, job: Job) -> None:
    """Raises ConflictError where an alias names a model of the job."""
    names = names_of_job(session, job.id)
    if names:
        which = f"the alias {names[0]!r}" if len(names) == 1 else f"the aliases {', '.join(names)}"
        detail = f"a model of job {job.id} is asked for by {which}"
        raise ConflictError(f"{detail}: give another model that name, or delete it")
