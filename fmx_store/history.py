"""Whether the record is what its history says, and the history one that may be.

Meant for after anything has happened: a crash, an outage, a restored backup. It may be asked while
server and workers run, since each job is read as it was at one moment.
"""

import hashlib
import heapq
import itertools
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from fmx_store.blobs import CHUNK_BYTES, BlobStore
from fmx_store.database import Database
from fmx_store.errors import BlobError
from fmx_store.history_rules import (
    Batch,
    Epochs,
    EventFact,
    JobFacts,
    JobHistory,
    Rule,
    RunFacts,
    Violation,
    judge,
)
from fmx_store.states import Reason, State
from fmx_store.tables import (
    Artifact,
    Checkpoint,
    Event,
    Job,
    Metric,
    Model,
    Pin,
    Run,
    RunNeed,
    table_of,
)
from fmx_store.viewers import Record

JOBS_AT_ONCE = 100

_JOB, _RUN, _EVENT, _NEED = table_of(Job), table_of(Run), table_of(Event), table_of(RunNeed)
_METRIC, _PIN, _MODEL = table_of(Metric), table_of(Pin), table_of(Model)
_ARTIFACT, _CHECKPOINT = table_of(Artifact), table_of(Checkpoint)
_IDS = bindparam("ids", expanding=True)


def check_history(
    db: Database, blobs: BlobStore | None = None, accepted: Iterable[str] = ()
) -> list[Violation]:
    """What does not hold of the jobs that are there or ever were.

    `accepted` are ids that submissions were answered with; each must be there, or have been
    deleted. The bytes of all artifacts are read where there is a store.
    """
    found: list[Violation] = []
    missing = set(accepted)
    files = _Files(db, blobs) if blobs is not None else None
    for history in read_histories(db):
        missing.discard(history.id)
        found += judge(history)
        if files is not None:
            found += files.check(history)
    found += (Violation(job_id, None, Rule.LOST, "it was accepted") for job_id in sorted(missing))
    return found


def read_histories(db: Database) -> Iterator[JobHistory]:
    """Every job that is there or has left events, by id."""
    last = ""
    while ids := _find_ids(db, last):
        with look(db) as connection:
            histories = read(connection, ids)
        yield from histories
        last = ids[-1]


@contextmanager
def look(db: Record) -> Generator[Connection]:
    """A connection that sees the record as it was at one moment."""
    with db.look() as connection:
        if not db.is_sqlite:  # which always reads so
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _find_ids(db: Database, after: str) -> list[str]:
    columns = (_JOB.c.id, _EVENT.c.job_id)
    with db.look() as connection:
        found = [
            connection.execute(
                select(column).distinct().where(column > after).order_by(column).limit(JOBS_AT_ONCE)
            ).scalars()
            for column in columns
        ]
        merged = heapq.merge(*(list(ids) for ids in found))
    return [job_id for job_id, _ in itertools.groupby(merged)][:JOBS_AT_ONCE]


_JOBS = select(_JOB.c.id, _JOB.c.state, _JOB.c.reason, _JOB.c.version, _JOB.c.finished_at)
_JOBS_BY_ID = _JOBS.where(_JOB.c.id.in_(_IDS))
_RUNS_BY_JOB = (
    select(
        _RUN.c.job_id,
        *(_RUN.c[name] for name in ("id", "name", "role", "position", "state", "attempt")),
        *(_RUN.c[name] for name in ("waiting_for", "epochs_done")),
        _RUN.c.worker.is_not(None).label("has_worker"),
        _RUN.c.finished_at.is_not(None).label("has_end"),
        _RUN.c.reused_from.is_not(None).label("is_taken_over"),
    )
    .where(_RUN.c.job_id.in_(_IDS))
    .order_by(_RUN.c.job_id, _RUN.c.position)
)
_EVENTS_BY_JOB = (
    select(_EVENT).where(_EVENT.c.job_id.in_(_IDS)).order_by(_EVENT.c.job_id, _EVENT.c.seq)
)


def _of_runs(*columns: Any) -> Any:
    """A query for what hangs on the runs of jobs; the first column is the run's id."""
    return select(*columns).join(_RUN, columns[0] == _RUN.c.id).where(_RUN.c.job_id.in_(_IDS))


_NEEDS_BY_JOB = _of_runs(_NEED.c.run_id, _NEED.c.needs_id)
_PINS_BY_JOB = _of_runs(_PIN.c.run_id, _PIN.c.attempt)
_PATHS_BY_JOB = _of_runs(_ARTIFACT.c.run_id, _ARTIFACT.c.path)
_MODELS_BY_JOB = _of_runs(_MODEL.c.run_id)
_EPOCHS_BY_JOB = _of_runs(
    _METRIC.c.run_id,
    func.count(),
    func.min(_METRIC.c.epoch),
    func.max(_METRIC.c.epoch),
    func.min(_METRIC.c.attempt),
    func.max(_METRIC.c.attempt),
).group_by(_METRIC.c.run_id)
_CHECKPOINTS_BY_JOB = _of_runs(_CHECKPOINT.c.run_id, func.max(_CHECKPOINT.c.epoch)).group_by(
    _CHECKPOINT.c.run_id
)


@dataclass
class _Beside:
    """What runs have in other tables, by the run's id."""

    needs: Mapping[str, Sequence[str]]
    pins: Mapping[str, Sequence[int]]
    paths: Mapping[str, Sequence[str]]
    epochs: Mapping[str, Epochs]
    models: frozenset[str]
    checkpoints: Mapping[str, int]

    def add_to(self, run: RunFacts) -> RunFacts:
        run.needs = self.needs.get(run.id, ())
        run.pins = frozenset(self.pins.get(run.id, ()))
        run.paths = frozenset(self.paths.get(run.id, ()))
        run.epochs = self.epochs.get(run.id, Epochs())
        run.has_model = run.id in self.models
        run.checkpoint = self.checkpoints.get(run.id, 0)
        return run


def read(connection: Connection, ids: Sequence[str]) -> list[JobHistory]:
    """The histories of jobs that are there or have left events."""

    def rows(query: Any) -> Sequence[Any]:
        return connection.execute(query, {"ids": ids}).all()

    beside = _Beside(
        needs=_group(rows(_NEEDS_BY_JOB)),
        pins=_group(rows(_PINS_BY_JOB)),
        paths=_group(rows(_PATHS_BY_JOB)),
        epochs={run_id: Epochs(*figures) for run_id, *figures in rows(_EPOCHS_BY_JOB)},
        models=frozenset(run_id for (run_id,) in rows(_MODELS_BY_JOB)),
        checkpoints={run_id: epoch for run_id, epoch in rows(_CHECKPOINTS_BY_JOB)},  # noqa: C416 - rows are no pairs to the type checker
    )
    jobs = {
        job_id: JobFacts(state, reason, version, finished_at is not None)
        for job_id, state, reason, version, finished_at in rows(_JOBS_BY_ID)
    }
    runs = _group((job_id, RunFacts(*columns)) for job_id, *columns in rows(_RUNS_BY_JOB))
    events = _group((event.job_id, _make_event(event)) for event in rows(_EVENTS_BY_JOB))
    return [
        JobHistory(
            job_id,
            jobs.get(job_id),
            [beside.add_to(run) for run in runs.get(job_id, ())],
            events.get(job_id, ()),
        )
        for job_id in ids
    ]


def _group(pairs: Iterable[Any]) -> dict[str, list[Any]]:
    grouped = defaultdict[str, list[Any]](list)
    for key, value in pairs:
        grouped[key].append(value)
    return grouped


def _make_event(row: Any) -> EventFact:
    state, reason = row.data.get("state"), row.data.get("reason")
    return EventFact(
        seq=row.seq,
        type=row.type,
        run_id=row.run_id,
        attempt=row.attempt,
        state=State(state) if state else None,
        reason=Reason(reason) if reason else None,
        paths=frozenset(row.data.get("paths", ())),
        epochs=tuple(Batch(*each) for each in row.data.get("epochs", ())),
        epoch=row.data.get("epoch"),
    )


class _Files:
    """Compares stored files with what their artifacts say of them; each file once."""

    def __init__(self, db: Database, blobs: BlobStore) -> None:
        self._db, self._blobs = db, blobs
        self._good: set[tuple[str, int]] = set()

    def check(self, history: JobHistory) -> Iterator[Violation]:
        for run_id, path, sha256, size_bytes in self._list(history.id):
            if (sha256, size_bytes) in self._good:
                continue
            wrong = self._find_wrong(sha256, size_bytes)
            if wrong is None:
                self._good.add((sha256, size_bytes))
            elif (run_id, path, sha256, size_bytes) in self._list(history.id):  # not deleted since
                yield Violation(history.id, run_id, Rule.DAMAGED, f"{path}: {wrong}")

    def _list(self, job_id: str) -> list[tuple[str, str, str, int]]:
        columns = (_ARTIFACT.c[name] for name in ("run_id", "path", "sha256", "size_bytes"))
        with self._db.look() as connection:
            found = connection.execute(select(*columns).where(_ARTIFACT.c.job_id == job_id))
            return [(row.run_id, row.path, row.sha256, row.size_bytes) for row in found]

    def _find_wrong(self, sha256: str, size_bytes: int) -> str | None:
        digest, size = hashlib.sha256(), 0
        try:
            with self._blobs.open(sha256) as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        except BlobError as error:
            return str(error)
        if (digest.hexdigest(), size) != (sha256, size_bytes):
            return f"{size} bytes with the sha256 {digest.hexdigest()}"
        return None
