"""Submissions: jobs and their runs, recorded many at a time.

What a commit costs, above all the wait for the disk, is shared by all that come together. A group
is one transaction with one statement a table. Where a submission of it can't be recorded, none is,
and each is tried alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session, col, select, tuple_

from fmx_ml.requests import JobRequest, count_fewest, named_runs, plan, told
from fmx_ml.trainings import PlannedRun
from fmx_store import datasets, new_jobs, reuse
from fmx_store.database import OUTAGES, Database
from fmx_store.errors import IdempotencyError, LimitError, UnknownRunError
from fmx_store.new_jobs import IdempotencyKey, NewJob, Origin
from fmx_store.quotas import Quotas
from fmx_store.tables import Idempotency, Job, Run
from fmx_store.viewers import EVERYONE, Record, View, Viewer

# Bounds of a group: other processes wait for SQLite's write lock while one is written.
GROUP_JOBS = 64
GROUP_RUNS = 256

TRIES = 5


@dataclass(frozen=True)
class Submission:
    """What is asked for, and by whom; with the same key of an owner it is recorded once.

    `traceparent` is the place in a trace that the job's spans belong to, if it is traced.
    """

    request: JobRequest
    idempotency: IdempotencyKey | None = None
    viewer: Viewer = EVERYONE
    traceparent: str | None = None

    @property
    def slot(self) -> tuple[str, str]:
        """The owner and the key, where there is one."""
        return self.viewer.owner or "", self.idempotency.key if self.idempotency else ""


@dataclass(frozen=True)
class Recorded:
    """The id of a job that was recorded, now or by an earlier submission with the same key."""

    job_id: str
    replayed: bool


def plan_runs(record: Record, request: JobRequest, max_runs: int) -> tuple[PlannedRun, ...]:
    """The runs that a request needs, by the runs of other jobs that it names as they are now.

    Raises LimitError, UnknownDatasetError, UnknownRunError, UnfinishedRunError,
    fmx_ml.questions.MisfitError.
    """
    if (fewest := count_fewest(request)) > max_runs:
        raise LimitError("runs", fewest, max_runs)
    request = told(request, datasets.resolve(record, request.spec.dataset))
    planned = plan(request, reuse.resolve(record, named_runs(request)))
    if len(planned) > max_runs:
        raise LimitError("runs", len(planned), max_runs)
    if len({run.name for run in planned}) < len(planned):
        raise ValueError(f"{request.kind} plans several runs of one name")
    return planned


def record(
    db: Database, submission: Submission, max_runs: int, quotas: Quotas | None = None
) -> Recorded:
    """Records a job and its runs, if quotas are given and hold.

    Raises IdempotencyError, QuotaError, and what `plan_runs` does.
    """
    for _ in range(TRIES - 1):
        try:
            return _record(db, submission, max_runs, quotas)
        except IntegrityError:
            # Another server has just recorded the same key: answer as it did. Or a file of a run
            # that is reused has just been collected, or a data set removed: look for another.
            continue
    return _record(db, submission, max_runs, quotas)


def _record(db: Database, submission: Submission, max_runs: int, quotas: Quotas | None) -> Recorded:
    # Before anything is planned: the runs that it named then may have been removed since.
    key = submission.idempotency
    if key and (earlier := _find_earlier(db, [submission]).get(submission.slot)):
        return _replay(key, earlier)
    new = _draft(db, submission, max_runs)
    with db.write() as session:
        refused = quotas.refuse(session.connection(), [new]) if quotas else {}
        if refused:
            raise refused[new.id]
        taken = _find_sources(session, new) if _may_take_over(new.request) else {}
        session.info["rings"] += new_jobs.write(session.connection(), [new], {new.id: taken})
        if taken:
            _take_over(session, new, taken)
    return Recorded(new.id, replayed=False)


def _draft(db: Database, submission: Submission, max_runs: int) -> NewJob:
    planned = plan_runs(View(db, submission.viewer), submission.request, max_runs)
    origin = Origin(submission.viewer.owner, submission.traceparent)
    return new_jobs.draft(submission.request, planned, submission.idempotency, origin)


def record_all(
    db: Database,
    submissions: Sequence[Submission],
    max_runs: int,
    quotas: Quotas | None = None,
) -> list[Recorded | Exception]:
    """Records submissions as `record` does; answers what that gives or raises for each."""
    earlier = _find_earlier(db, submissions)
    answers: list[Recorded | Exception | None] = [None] * len(submissions)
    new: dict[int, NewJob] = {}
    for position, submission in enumerate(submissions):
        key = submission.idempotency
        try:
            if key and submission.slot in earlier:
                answers[position] = _replay(key, earlier[submission.slot])
            elif not _may_take_over(submission.request):
                new[position] = _draft(db, submission, max_runs)
        except Exception as error:  # noqa: BLE001 - of this one alone; it is answered
            answers[position] = error
    for group in _groups(new):
        answers_of_group = _record_group(db, [new[position] for position in group], quotas)
        for position, answer in zip(group, answers_of_group, strict=True):
            answers[position] = answer
    return [
        _record_alone(db, submissions[position], max_runs, quotas) if answer is None else answer
        for position, answer in enumerate(answers)
    ]


def _groups(new: dict[int, NewJob]) -> Iterator[list[int]]:
    """The positions of jobs that are written together."""
    group: list[int] = []
    num_runs = 0
    for position, item in new.items():
        if group and (len(group) == GROUP_JOBS or num_runs + len(item.runs) > GROUP_RUNS):
            yield group
            group, num_runs = [], 0
        group.append(position)
        num_runs += len(item.runs)
    if group:
        yield group


def _record_group(
    db: Database, new: Sequence[NewJob], quotas: Quotas | None
) -> Sequence[Recorded | Exception | None]:
    """The answers of jobs that take nothing over; None where each should be tried alone."""
    try:
        with db.write() as session:
            connection = session.connection()
            refused = quotas.refuse(connection, new) if quotas else {}
            taken_in = [item for item in new if item.id not in refused]
            session.info["rings"] += new_jobs.write(connection, taken_in, {})
    except OUTAGES as error:  # for all
        return [error] * len(new)
    except SQLAlchemyError:
        return [None] * len(new)
    return [refused.get(item.id) or Recorded(item.id, replayed=False) for item in new]


def _record_alone(
    db: Database, submission: Submission, max_runs: int, quotas: Quotas | None
) -> Recorded | Exception:
    try:
        return record(db, submission, max_runs, quotas)
    except Exception as error:  # noqa: BLE001 - it is answered
        return error


def _find_earlier(
    db: Database, submissions: Sequence[Submission]
) -> dict[tuple[str, str], Idempotency]:
    """What was recorded with the owners' keys of submissions, by owner and key."""
    slots = [s.slot for s in submissions if s.idempotency]
    if not slots:
        return {}
    columns = tuple_(col(Idempotency.owner), col(Idempotency.key))
    with db.read() as session:
        query = select(Idempotency).where(columns.in_(slots))
        return {(found.owner, found.key): found for found in session.exec(query)}


def _replay(key: IdempotencyKey, earlier: Idempotency) -> Recorded:
    if earlier.request_hash != key.request_hash:
        raise IdempotencyError(key.key)
    return Recorded(earlier.job_id, replayed=True)


def _may_take_over(request: JobRequest) -> bool:
    """Whether a run of the job may take over what a finished one has left."""
    return request.reuse or bool(named_runs(request))


def _find_sources(session: Session, new: NewJob) -> dict[str, Run]:
    """The finished runs that new ones take over, by the new ones' names.

    Raises UnknownRunError where a run that the plan names has gone since it was made.
    """
    named = {p.name: p.taken_from for p in new.planned if p.taken_from is not None}
    hashes = new.hashes if new.request.reuse else {}
    equal = reuse.find_equal(session, set(hashes.values()), new.job["owner"])
    wanted = {name: equal[digest] for name, digest in hashes.items() if digest in equal} | named
    found = reuse.lock_sources(session, set(wanted.values()))
    for run_id in named.values():
        if run_id not in found:
            places = {named_id: place for place, named_id in named_runs(new.request).items()}
            raise UnknownRunError(places.get(run_id, ""), run_id)
    return {name: found[run_id] for name, run_id in wanted.items() if run_id in found}


def _take_over(session: Session, new: NewJob, sources: dict[str, Run]) -> None:
    job = session.get_one(Job, new.id)
    query = select(Run).where(Run.job_id == job.id, col(Run.name).in_(sources))
    runs = session.exec(query.order_by(col(Run.position)))
    reuse.take_over(session, job, [(run, sources[run.name]) for run in runs])
