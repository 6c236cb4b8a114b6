"""Jobs: submit, find, list, cancel, retry, delete. Each function is one transaction."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from fmx_ml.specs import JobRequest, PlannedRun, plan, spec_hash, training_hash
from fmx_store.database import Database
from fmx_store.errors import (
    ConflictError,
    CursorError,
    IdempotencyError,
    LimitError,
    NotFoundError,
)
from fmx_store.ids import is_id
from fmx_store.lifecycle import cancel_all, lock_job, move_job, move_run, note, ring, runs_of
from fmx_store.states import ACTIVE, ENDED, Role, State
from fmx_store.tables import Artifact, Idempotency, Job, JobTag, Metric, Model, Run, RunNeed
from fmx_store.texts import is_storable

T = TypeVar("T")

COLLATION = "collation"
SUBMIT_TRIES = 5


@dataclass(frozen=True)
class Submitted:
    """A job that was recorded, now or by an earlier request with the same key."""

    job: Job
    replayed: bool


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's key and a hash of what it asked for."""

    key: str
    request_hash: str


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a list, and the cursor that continues it."""

    items: Sequence[T]
    next_cursor: str | None


def submit(
    db: Database, request: JobRequest, max_runs: int, idempotency: IdempotencyKey | None = None
) -> Submitted:
    """Records a job and its runs. Raises LimitError, IdempotencyError."""
    planned = plan(request.spec)
    if len(planned) > max_runs:
        raise LimitError("runs", len(planned), max_runs)
    for _ in range(SUBMIT_TRIES - 1):
        try:
            return _submit(db, request, planned, idempotency)
        except IntegrityError:
            # Another server has just recorded the same key: answer as it did. Or a file of a run
            # that is reused has just been collected: look for another.
            continue
    return _submit(db, request, planned, idempotency)


def _submit(
    db: Database,
    request: JobRequest,
    planned: Sequence[PlannedRun],
    idempotency: IdempotencyKey | None,
) -> Submitted:
    with db.write() as session:
        if idempotency and (earlier := session.get(Idempotency, idempotency.key)):
            if earlier.request_hash != idempotency.request_hash:
                raise IdempotencyError(idempotency.key)
            return Submitted(_require(session, earlier.job_id), replayed=True)
        job = _add_job(session, request)
        if idempotency:
            session.add(
                Idempotency(
                    key=idempotency.key, request_hash=idempotency.request_hash, job_id=job.id
                )
            )
        _add_runs(session, job, request, planned)
        return Submitted(job, replayed=False)


def _add_job(session: Session, request: JobRequest) -> Job:
    job = Job(
        kind=request.kind,
        preset=request.preset,
        name=request.name,
        priority=request.priority,
        time_limit_seconds=request.time_limit_seconds,
        spec=request.spec.model_dump(mode="json"),
        spec_hash=spec_hash(request.kind, request.spec),
        version=0,
    )
    session.add(job)
    session.flush()
    session.add_all(JobTag(job_id=job.id, tag=tag) for tag in request.tags)
    note(session, job, "job", state=job.state, reason=None)
    return job


def _add_runs(
    session: Session, job: Job, request: JobRequest, planned: Sequence[PlannedRun]
) -> None:
    runs = {p.name: _run_of(job, request, p, i) for i, p in enumerate(planned)}
    collation = Run(
        job_id=job.id,
        position=len(planned),
        name=COLLATION,
        role=Role.COLLATION,
        device="auto",
        priority=job.priority,
        waiting_for=len(planned),
    )
    session.add_all([*runs.values(), collation])
    session.flush()
    for p in planned:
        session.add_all(RunNeed(run_id=runs[p.name].id, needs_id=runs[n].id) for n in p.needs)
        session.add(RunNeed(run_id=collation.id, needs_id=runs[p.name].id))
    session.flush()
    if request.reuse:
        for run in runs.values():
            _reuse(session, job, run)
    for run in (*runs.values(), collation):
        if run.state is State.QUEUED and run.waiting_for == 0:
            ring(session, run)


def _run_of(job: Job, request: JobRequest, planned: PlannedRun, position: int) -> Run:
    return Run(
        job_id=job.id,
        position=position,
        name=planned.name,
        role=Role.TRAINING,
        device=request.spec.device,
        priority=job.priority,
        training=planned.training.model_dump(mode="json"),
        training_hash=training_hash(planned.training),
        waiting_for=len(planned.needs),
        epochs_total=planned.max_epochs,
    )


def _reuse(session: Session, job: Job, run: Run) -> None:
    """Gives a run what an equal one left, if one has succeeded: figures, files, model."""
    query = (
        select(Run)
        .join(Job, col(Job.id) == col(Run.job_id))
        .where(Run.training_hash == run.training_hash, Run.state == State.SUCCEEDED)
        .order_by(col(Run.id).desc())
        .limit(1)
        # Its job may not be removed while it is copied.
        .with_for_update(read=True, key_share=True, of=Job)
    )
    source = session.exec(query).first()
    if source is None:
        return
    run.reused_from = source.reused_from or source.id
    run.summary = source.summary
    run.epochs_done = run.epochs_total = source.epochs_done
    run.seconds_per_epoch = source.seconds_per_epoch
    mine: dict[str, Any] = {"job_id": job.id, "run_id": run.id}
    for metric in session.exec(select(Metric).where(Metric.run_id == source.id)).all():
        session.add(
            Metric.model_validate({**metric.model_dump(), "run_id": run.id, "attempt": run.attempt})
        )
    for artifact in session.exec(select(Artifact).where(Artifact.run_id == source.id)).all():
        path = f"{run.name}/{artifact.path.removeprefix(source.name + '/')}"
        session.add(Artifact.model_validate({**artifact.model_dump(), **mine, "path": path}))
    model = session.exec(select(Model).where(Model.run_id == source.id)).first()
    if model is not None:
        copied = model.model_dump(exclude={"id", "created_at"})
        session.add(
            Model.model_validate({**copied, **mine, "run_name": run.name, "kind": job.kind})
        )
    if job.state is State.QUEUED:
        move_job(session, job, State.RUNNING)
    move_run(session, job, run, State.RUNNING)
    move_run(session, job, run, State.SUCCEEDED)


def _require(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id) if is_id(job_id) else None
    if job is None:
        raise NotFoundError("job", job_id)
    return job


def require_job(db: Database, job_id: str) -> Job:
    """The job. Raises NotFoundError."""
    with db.read() as session:
        return _require(session, job_id)


def get_version(db: Database, job_id: str) -> tuple[int, State]:
    """The job's version and state, by the cheapest query there is. Raises NotFoundError."""
    if not is_id(job_id):
        raise NotFoundError("job", job_id)
    with db.read() as session:
        row = session.exec(select(Job.version, Job.state).where(Job.id == job_id)).first()
    if row is None:
        raise NotFoundError("job", job_id)
    return row[0], State(row[1])


def tags_of(db: Database, job_ids: Sequence[str]) -> dict[str, list[str]]:
    """The tags of each job, in alphabetical order."""
    tags: dict[str, list[str]] = {job_id: [] for job_id in job_ids}
    with db.read() as session:
        for row in session.exec(select(JobTag).where(col(JobTag.job_id).in_(job_ids))):
            tags[row.job_id].append(row.tag)
    # Sorted here, since databases order text by rules of their own.
    return {job_id: sorted(found) for job_id, found in tags.items()}


def list_runs(db: Database, job_id: str) -> list[Run]:
    """The job's trainings and, last, its collation. Raises NotFoundError."""
    with db.read() as session:
        return runs_of(session, _require(session, job_id))


def runs_by_job(db: Database, job_ids: Sequence[str]) -> dict[str, list[Run]]:
    """`list_runs` of many jobs in one query."""
    runs: dict[str, list[Run]] = {job_id: [] for job_id in job_ids}
    with db.read() as session:
        query = select(Run).where(col(Run.job_id).in_(job_ids)).order_by(col(Run.position))
        for run in session.exec(query):
            runs[run.job_id].append(run)
    return runs


def require_run(db: Database, run_id: str) -> Run:
    """The training run. Raises NotFoundError, for a collation too."""
    with db.read() as session:
        run = session.get(Run, run_id) if is_id(run_id) else None
    if run is None or run.role is not Role.TRAINING:
        raise NotFoundError("run", run_id)
    return run


def encode_cursor(last_id: str) -> str:
    """The cursor of a list that ended at this id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The id in a cursor. Raises CursorError."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise CursorError(cursor) from error
    if not is_id(text):
        raise CursorError(cursor)
    return text


def list_jobs(
    db: Database,
    *,
    kind: str | None = None,
    state: State | None = None,
    tag: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Job]:
    """Jobs, newest first, that match every filter given. Raises CursorError."""
    if not is_storable(f"{kind}{tag}"):
        return Page((), None)
    query = select(Job).order_by(col(Job.id).desc()).limit(limit + 1)
    if kind is not None:
        query = query.where(Job.kind == kind)
    if state is not None:
        query = query.where(Job.state == state)
    if tag is not None:
        tagged = select(JobTag.job_id).where(JobTag.tag == tag)
        query = query.where(col(Job.id).in_(tagged))
    if cursor is not None:
        query = query.where(Job.id < decode_cursor(cursor))
    with db.read() as session:
        found = list(session.exec(query))
    more = encode_cursor(found[limit - 1].id) if len(found) > limit else None
    return Page(found[:limit], more)


def cancel(db: Database, job_id: str) -> Job:
    """Cancels a job; again, while it is being cancelled, changes nothing.

    Raises NotFoundError, ConflictError where the job has ended.
    """
    with db.write() as session:
        job = lock_job(session, job_id)
        if job.state in ENDED:
            raise ConflictError(f"job {job_id} has already {job.state}")
        if job.state is not State.CANCELLING:
            cancel_all(session, job)
        return job


def retry(db: Database, job_id: str) -> Job:
    """Queues again what did not succeed, and the job's collation.

    Raises NotFoundError, ConflictError where the job has not failed or been cancelled.
    """
    with db.write() as session:
        job = lock_job(session, job_id)
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


def remove(db: Database, job_id: str) -> set[str]:
    """Deletes a job and all its rows; answers the sha256 of the files it had.

    Raises NotFoundError, ConflictError while a worker holds one of its runs.
    """
    with db.write() as session:
        job = lock_job(session, job_id)
        if job.state in ACTIVE:
            raise ConflictError(f"job {job_id} is {job.state}: cancel it first")
        files = set(session.exec(select(Artifact.sha256).where(Artifact.job_id == job_id)))
        session.exec(delete(Idempotency).where(col(Idempotency.job_id) == job_id))
        session.exec(delete(Job).where(col(Job.id) == job_id))
        return files
