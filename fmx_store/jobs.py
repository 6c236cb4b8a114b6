"""Jobs: submit, find, list, cancel, retry, delete. Each function is one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import defer
from sqlmodel import Session, col, delete, select

from fmx_ml.packs import pack_key
from fmx_ml.requests import JobRequest, named_runs, plan, spec_hash
from fmx_ml.trainings import PlannedRun, training_hash
from fmx_store import reuse
from fmx_store.database import Database
from fmx_store.errors import (
    ConflictError,
    CursorError,
    IdempotencyError,
    LimitError,
    NotFoundError,
    UnknownRunError,
)
from fmx_store.ids import is_id
from fmx_store.lifecycle import cancel_all, lock_job, move_job, move_run, note, ring, runs_of
from fmx_store.needs import reduce_needs
from fmx_store.pages import Page, decode_cursor, make_page
from fmx_store.states import ACTIVE, ENDED, Role, State
from fmx_store.tables import Artifact, Idempotency, Job, JobTag, Run, RunNeed
from fmx_store.texts import is_storable

COLLATION = "collation"
SUBMIT_TRIES = 5

# Lists do not show the tables of a job, which may be large; reading them there is an error.
_WITHOUT_RESULTS = defer(col(Job.results), raiseload=True)  # pyright: ignore[reportArgumentType] - a column is one


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


def plan_runs(db: Database, request: JobRequest, max_runs: int) -> tuple[PlannedRun, ...]:
    """The runs that a request needs, by the runs of other jobs that it names as they are now.

    Raises LimitError, UnknownRunError, UnfinishedRunError, fmx_ml.questions.MisfitError.
    """
    planned = plan(request, reuse.resolve(db, named_runs(request)))
    if len(planned) > max_runs:
        raise LimitError("runs", len(planned), max_runs)
    if len({run.name for run in planned}) < len(planned):
        raise ValueError(f"{request.kind} plans several runs of one name")
    return planned


def submit(
    db: Database, request: JobRequest, max_runs: int, idempotency: IdempotencyKey | None = None
) -> Submitted:
    """Records a job and its runs. Raises IdempotencyError, and what `plan_runs` does."""
    for _ in range(SUBMIT_TRIES - 1):
        try:
            return _submit(db, request, max_runs, idempotency)
        except IntegrityError:
            # Another server has just recorded the same key: answer as it did. Or a file of a run
            # that is reused has just been collected: look for another.
            continue
    return _submit(db, request, max_runs, idempotency)


def _submit(
    db: Database, request: JobRequest, max_runs: int, idempotency: IdempotencyKey | None
) -> Submitted:
    # Before anything is planned: the runs that it named then may have been removed since.
    if idempotency and (earlier := _get_earlier(db, idempotency)):
        return Submitted(earlier, replayed=True)
    planned = plan_runs(db, request, max_runs)
    job = _make_job(request)
    runs = {p.name: _make_run(job, request, p, i) for i, p in enumerate(planned)}
    with db.write() as session:
        _add_job(session, job, request, idempotency)
        sources = _find_sources(session, request, planned, runs)
        _add_runs(session, job, planned, runs, sources)
    return Submitted(job, replayed=False)


def _get_earlier(db: Database, idempotency: IdempotencyKey) -> Job | None:
    """The job that was recorded with the same key. Raises IdempotencyError."""
    with db.read() as session:
        earlier = session.get(Idempotency, idempotency.key)
        if earlier is None:
            return None
        if earlier.request_hash != idempotency.request_hash:
            raise IdempotencyError(idempotency.key)
        return session.get(Job, earlier.job_id)


def _make_job(request: JobRequest) -> Job:
    return Job(
        kind=request.kind,
        preset=request.preset,
        name=request.name,
        priority=request.priority,
        time_limit_seconds=request.time_limit_seconds,
        spec=request.spec.model_dump(mode="json"),
        spec_hash=spec_hash(request.kind, request.spec),
        version=0,
    )


def _make_run(job: Job, request: JobRequest, planned: PlannedRun, position: int) -> Run:
    return Run(
        job_id=job.id,
        position=position,
        name=planned.name,
        role=Role.TRAINING,
        device=request.spec.device,
        priority=job.priority,
        training=planned.training.model_dump(mode="json"),
        training_hash=training_hash(planned.training),
        epochs_total=planned.max_epochs,
        pack_key=pack_key(planned.training),
    )


def _add_job(
    session: Session, job: Job, request: JobRequest, idempotency: IdempotencyKey | None
) -> None:
    session.add(job)
    if idempotency:
        session.add(Idempotency(**vars(idempotency), job_id=job.id))
    session.flush()
    session.add_all(JobTag(job_id=job.id, tag=tag) for tag in request.tags)
    note(session, job, "job", state=job.state, reason=None)


def _find_sources(
    session: Session,
    request: JobRequest,
    planned: Sequence[PlannedRun],
    runs: Mapping[str, Run],
) -> dict[str, Run]:
    """The finished runs that new ones take over, by the new ones' names.

    Raises UnknownRunError where a run that the plan names has gone since it was made.
    """
    named = {p.name: p.taken_from for p in planned if p.taken_from is not None}
    hashes = {
        name: run.training_hash for name, run in runs.items() if request.reuse and run.training_hash
    }
    equal = reuse.find_equal(session, set(hashes.values()))
    wanted = {name: equal[digest] for name, digest in hashes.items() if digest in equal} | named
    found = reuse.lock_sources(session, set(wanted.values()))
    for run_id in named.values():
        if run_id not in found:
            places = {named_id: place for place, named_id in named_runs(request).items()}
            raise UnknownRunError(places.get(run_id, ""), run_id)
    return {name: found[run_id] for name, run_id in wanted.items() if run_id in found}


def _add_runs(
    session: Session,
    job: Job,
    planned: Sequence[PlannedRun],
    runs: Mapping[str, Run],
    sources: Mapping[str, Run],
) -> None:
    """All at once, since a job may have hundreds."""
    collation = Run(
        job_id=job.id,
        position=len(planned),
        name=COLLATION,
        role=Role.COLLATION,
        device="auto",
        priority=job.priority,
    )
    reduced = reduce_needs(planned, sources)
    needs = {runs[name].id: [runs[n] for n in needed] for name, needed in reduced.items()}
    needs[collation.id] = list(runs.values())
    session.add_all([*runs.values(), collation])
    reuse.take_over(session, job, [(runs[name], source) for name, source in sources.items()])
    for run in (*runs.values(), collation):
        run.waiting_for = sum(needed.state not in ENDED for needed in needs[run.id])
        if run.state is State.QUEUED and run.waiting_for == 0:
            ring(session, run)
    session.flush()
    rows = [
        {"run_id": run_id, "needs_id": n.id} for run_id, all_of in needs.items() for n in all_of
    ]
    session.exec(insert(RunNeed), params=rows)


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
        job = _require(session, job_id)
        query = select(Run).where(Run.job_id == job.id).order_by(col(Run.position))
        return list(session.exec(query))


def page_runs(db: Database, job_id: str, *, limit: int, cursor: str | None = None) -> Page[Run]:
    """Some of the job's trainings, in the plan's order. Raises NotFoundError, CursorError."""
    with db.read() as session:
        job = _require(session, job_id)
        query = select(Run).where(Run.job_id == job.id, Run.role == Role.TRAINING)
        if cursor is not None:
            last = select(Run.position).where(Run.id == decode_cursor(cursor), Run.job_id == job.id)
            position = session.exec(last).first()
            if position is None:
                raise CursorError(cursor)
            query = query.where(Run.position > position)
        found = session.exec(query.order_by(col(Run.position)).limit(limit + 1)).all()
    return make_page(found, limit, lambda run: run.id)


def require_run(db: Database, run_id: str) -> Run:
    """The training run. Raises NotFoundError, for a collation too."""
    with db.read() as session:
        run = session.get(Run, run_id) if is_id(run_id) else None
    if run is None or run.role is not Role.TRAINING:
        raise NotFoundError("run", run_id)
    return run


def list_jobs(
    db: Database,
    *,
    kind: str | None = None,
    state: State | None = None,
    tag: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Job]:
    """Jobs, newest first, that match every filter given; without results. Raises CursorError."""
    if not is_storable(f"{kind}{tag}"):
        return Page((), None)
    query = select(Job).options(_WITHOUT_RESULTS).order_by(col(Job.id).desc()).limit(limit + 1)
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
        found = session.exec(query).all()
    return make_page(found, limit, lambda job: job.id)


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
