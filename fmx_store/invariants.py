"""What must hold of a record at every moment, as queries that find where it does not.

    dangling     what a row names by a foreign key is there
    artifact     an artifact is of its run's job and has its file's size
    pin          a staged file is kept for the present attempt of a run that a worker holds   *
    idempotency  a key's answer is a job that is there                                        *
    need         a run needs runs of its own job that are planned before it
    waiting      a queued run waits for as many runs as it needs and have not ended
    run          a run has a worker while it is held, an end once it has ended, and a reason
                 where it did not succeed; none goes on under a job that has ended
    metrics      a training that has succeeded has as many epochs as it counts, from 1 on
    model        a model is of a training that has succeeded and left its ONNX export
    job          a job has one collation, and its state is what its runs' states say
    history      no event is newer than its job's version

A rule is one statement, so what it sees belongs together while others write. Where a rule's rows
are garbage (*), `remove` takes them away.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Delete, Executable, Table, and_, func, or_, select
from sqlmodel import SQLModel, delete

from fmx_ml.files import ONNX_FILE
from fmx_store.states import ACTIVE, ENDED, Role, State
from fmx_store.tables import (
    Artifact,
    Blob,
    Event,
    Idempotency,
    Job,
    Metric,
    Model,
    Pin,
    Run,
    RunNeed,
    table_of,
)

_JOB, _RUN, _NEED, _METRIC = table_of(Job), table_of(Run), table_of(RunNeed), table_of(Metric)
_ARTIFACT, _BLOB, _PIN = table_of(Artifact), table_of(Blob), table_of(Pin)
_MODEL, _EVENT, _KEY = table_of(Model), table_of(Event), table_of(Idempotency)
_NEEDED = _RUN.alias("needed")

_WITH_REASON = (State.FAILED, State.CANCELLING, State.CANCELLED)


@dataclass(frozen=True)
class Rule:
    """A query for what breaks a rule.

    A row's first column names what is wrong, and `says` tells of it, with the row's columns. Where
    that is garbage, `remove` deletes it.
    """

    code: str
    query: Executable
    says: str
    remove: Delete | None = None


def rules() -> Sequence[Rule]:
    """Every rule."""
    makers: Sequence[Callable[[], Iterator[Rule]]] = (
        _dangling, _artifacts, _pins, _keys, _needs, _runs, _metrics, _models, _jobs, _history
    )  # fmt: skip
    return [rule for make in makers for rule in make()]


def _dangling() -> Iterator[Rule]:
    for table in SQLModel.metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            named = key.column.table.alias("named")
            is_there = select(1).where(named.c[key.column.name] == key.parent).exists()
            yield Rule(
                "dangling",
                select(key.parent).where(key.parent.is_not(None), ~is_there).distinct(),
                f"{table.name} names it, and there is no such {key.column.table.name}",
            )


def _artifacts() -> Iterator[Rule]:
    name = _ARTIFACT.c.job_id + "/" + _ARTIFACT.c.path
    with_blob = _ARTIFACT.join(_BLOB, _BLOB.c.sha256 == _ARTIFACT.c.sha256)
    differs = _ARTIFACT.c.size_bytes != _BLOB.c.size_bytes
    yield Rule(
        "artifact",
        select(name, _ARTIFACT.c.size_bytes, _BLOB.c.size_bytes)
        .select_from(with_blob)
        .where(differs),
        "it counts {1} bytes and its file {2}",
    )
    with_run = _ARTIFACT.join(_RUN, _RUN.c.id == _ARTIFACT.c.run_id)
    yield Rule(
        "artifact",
        select(name, _RUN.c.id).select_from(with_run).where(_RUN.c.job_id != _ARTIFACT.c.job_id),
        "run {1}, which left it, is of another job",
    )


def _pins() -> Iterator[Rule]:
    is_held = _exists(
        _RUN,
        _RUN.c.id == _PIN.c.run_id,
        _RUN.c.attempt == _PIN.c.attempt,
        _RUN.c.state.in_(ACTIVE),
    )
    yield Rule(
        "pin",
        select(_PIN.c.sha256, _PIN.c.run_id, _PIN.c.attempt).where(~is_held),
        "it is kept for attempt {2} of run {1}, which has no lease",
        delete(_PIN).where(~is_held),
    )


def _keys() -> Iterator[Rule]:
    is_there = _exists(_JOB, _JOB.c.id == _KEY.c.job_id)
    yield Rule(
        "idempotency",
        select(_KEY.c.key, _KEY.c.job_id).where(~is_there),
        "the job of this key, {1}, is not there",
        delete(_KEY).where(~is_there),
    )


def _needs() -> Iterator[Rule]:
    pairs = _NEED.join(_RUN, _RUN.c.id == _NEED.c.run_id).join(
        _NEEDED, _NEEDED.c.id == _NEED.c.needs_id
    )
    query = select(_RUN.c.id, _NEEDED.c.id).select_from(pairs)
    yield Rule(
        "need",
        query.where(or_(_RUN.c.job_id != _NEEDED.c.job_id, _RUN.c.position <= _NEEDED.c.position)),
        "it needs run {1}, which is of another job or planned after it",
    )
    unmet = (
        select(func.count())
        .select_from(_NEED.join(_NEEDED, _NEEDED.c.id == _NEED.c.needs_id))
        .where(_NEED.c.run_id == _RUN.c.id, _NEEDED.c.state.not_in(ENDED))
        .scalar_subquery()
    )
    yield Rule(
        "waiting",
        select(_RUN.c.id, _RUN.c.waiting_for, unmet).where(
            _RUN.c.state == State.QUEUED, _RUN.c.waiting_for != unmet
        ),
        "it waits for {1} runs, and {2} that it needs have not ended",
    )


def _runs() -> Iterator[Rule]:
    state = _RUN.c.state
    told = select(_RUN.c.id, state)
    has_worker = _RUN.c.worker.is_not(None)
    yield Rule("run", told.where(_differ(has_worker, state.in_(ACTIVE))), _tells("worker"))
    has_end = _RUN.c.finished_at.is_not(None)
    yield Rule("run", told.where(_differ(has_end, state.in_(ENDED))), _tells("time of its end"))
    has_reason = _RUN.c.reason.is_not(None)
    yield Rule("run", told.where(_differ(has_reason, state.in_(_WITH_REASON))), _tells("reason"))
    yield Rule(
        "run",
        select(_RUN.c.id, state, _JOB.c.id, _JOB.c.state)
        .select_from(_RUN.join(_JOB, _JOB.c.id == _RUN.c.job_id))
        .where(state.not_in(ENDED), _JOB.c.state.in_(ENDED)),
        "it is {1}, and its job {2} is {3}",
    )


def _metrics() -> Iterator[Rule]:
    epochs = _METRIC.c.epoch
    counted = (
        select(
            _RUN.c.id,
            _RUN.c.epochs_done,
            func.count(epochs),
            func.coalesce(func.min(epochs), 1),
            func.coalesce(func.max(epochs), 0),
        )
        .select_from(_RUN.outerjoin(_METRIC, _METRIC.c.run_id == _RUN.c.id))
        .where(_RUN.c.state == State.SUCCEEDED, _RUN.c.role == Role.TRAINING)
        .group_by(_RUN.c.id, _RUN.c.epochs_done)
    )
    wrong = or_(
        func.count(epochs) != _RUN.c.epochs_done,
        func.coalesce(func.min(epochs), 1) != 1,
        func.coalesce(func.max(epochs), 0) != _RUN.c.epochs_done,
    )
    yield Rule(
        "metrics",
        counted.having(wrong),
        "it counts {1} epochs, and {2} are there, from {3} to {4}",
    )


def _models() -> Iterator[Rule]:
    with_run = _MODEL.join(_RUN, _RUN.c.id == _MODEL.c.run_id)
    query = select(_MODEL.c.id, _RUN.c.id, _RUN.c.state).select_from(with_run)
    is_not_its = or_(_RUN.c.state != State.SUCCEEDED, _RUN.c.job_id != _MODEL.c.job_id)
    yield Rule("model", query.where(is_not_its), "its run {1} is {2}, or of another job")
    has_export = _exists(
        _ARTIFACT,
        _ARTIFACT.c.run_id == _MODEL.c.run_id,
        _ARTIFACT.c.path == _MODEL.c.run_name + f"/{ONNX_FILE}",
    )
    yield Rule("model", query.where(~has_export), f"its run {{1}} has left no {ONNX_FILE}")


def _jobs() -> Iterator[Rule]:
    state = _JOB.c.state
    told = select(_JOB.c.id, state)
    collations = (
        select(func.count())
        .where(_RUN.c.job_id == _JOB.c.id, _RUN.c.role == Role.COLLATION)
        .scalar_subquery()
    )
    yield Rule("job", told.where(collations != 1), "it has not one collation, but none or several")
    has_end = _JOB.c.finished_at.is_not(None)
    yield Rule("job", told.where(_differ(has_end, state.in_(ENDED))), _tells("time of its end"))
    has_reason = _JOB.c.reason.is_not(None)
    yield Rule("job", told.where(_differ(has_reason, state.in_(_WITH_REASON))), _tells("reason"))
    yield Rule("job", told.where(_contradicts_its_runs()), "it is {1}, and its runs are not so")


def _contradicts_its_runs() -> ColumnElement[bool]:
    state, a_run = _JOB.c.state, _RUN.c.job_id == _JOB.c.id
    runs = _RUN.c.state
    return or_(
        and_(
            state == State.QUEUED,
            _exists(_RUN, a_run, runs.not_in((State.QUEUED, State.SUCCEEDED))),
        ),
        and_(state == State.RUNNING, ~_exists(_RUN, a_run, runs.not_in(ENDED))),
        and_(state == State.RUNNING, _exists(_RUN, a_run, runs == State.CANCELLING)),
        and_(state == State.CANCELLING, ~_exists(_RUN, a_run, runs == State.CANCELLING)),
        and_(state == State.SUCCEEDED, _exists(_RUN, a_run, runs != State.SUCCEEDED)),
        and_(state == State.FAILED, ~_exists(_RUN, a_run, runs == State.FAILED)),
    )


def _history() -> Iterator[Rule]:
    with_job = _EVENT.join(_JOB, _JOB.c.id == _EVENT.c.job_id)
    query = select(_JOB.c.id, func.max(_EVENT.c.seq), _JOB.c.version).select_from(with_job)
    yield Rule(
        "history",
        query.where(_EVENT.c.seq > _JOB.c.version).group_by(_JOB.c.id, _JOB.c.version),
        "its event {1} is newer than its version {2}",
    )


def _exists(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(1).select_from(table).where(*conditions).exists()


def _differ(one: ColumnElement[bool], other: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether one of two conditions holds alone. None of them may be unknown."""
    return or_(and_(one, ~other), and_(~one, other))


def _tells(what: str) -> str:
    return f"it is {{1}}, and the {what} that it has, or has not, says otherwise"
