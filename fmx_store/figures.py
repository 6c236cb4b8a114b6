"""What a record comes to, in a few statements: figures for whoever watches over it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select, text

from fmx_store.lifecycle import queue_of
from fmx_store.quotas import sum_stored
from fmx_store.states import ACTIVE, Role, State
from fmx_store.tables import Job, Run, now, table_of
from fmx_store.viewers import Record, only_seen, viewer_of

_JOB, _RUN = table_of(Job), table_of(Run)

Seen = tuple[ColumnElement[bool], ...]
"""The conditions for the jobs that are seen; none where all are."""

_IS_TRAINING = _RUN.c.role == Role.TRAINING
_IS_DUE = (_RUN.c.state == State.QUEUED, _RUN.c.waiting_for == 0)


@dataclass(frozen=True)
class Figures:
    """How much there is, as far as a viewer sees it.

    Runs are trainings, by state and the queue whose workers can do them. Due are the runs that wait
    for nothing but a worker, collations too; the oldest of them was recorded at that moment.
    `record_bytes` is None for who does not see all.
    """

    jobs: Mapping[State, int]
    runs: Mapping[tuple[State, str], int]
    due: Mapping[str, int]
    oldest_due_at: datetime | None
    worker_runs: Mapping[str, int]
    num_epochs: int
    stored_bytes: int
    record_bytes: int | None
    read_at: datetime = field(default_factory=now)

    @property
    def oldest_due_seconds(self) -> float:
        """How long ago the oldest due run was recorded; 0 where none is due."""
        if self.oldest_due_at is None:
            return 0.0
        return max(0.0, (self.read_at - self.oldest_due_at).total_seconds())


def read_figures(record: Record) -> Figures:
    """Counts everything anew."""
    seen = only_seen(record, _JOB.c.owner)
    viewer = viewer_of(record)
    with record.look() as connection:
        runs, num_epochs = _count_runs(connection, seen)
        due, oldest_due_at = _look_at_due(connection, seen)
        return Figures(
            jobs=_count_jobs(connection, seen),
            runs=runs,
            due=due,
            oldest_due_at=oldest_due_at,
            worker_runs=_count_by_worker(connection, seen),
            num_epochs=num_epochs,
            stored_bytes=sum_stored(connection, None if viewer.sees_all else viewer.owner or ""),
            record_bytes=_measure(connection) if viewer.sees_all else None,
        )


def _count_jobs(connection: Connection, seen: Seen) -> dict[State, int]:
    query = select(_JOB.c.state, func.count()).where(*seen).group_by(_JOB.c.state)
    return dict(connection.execute(query).all())


def _count_runs(connection: Connection, seen: Seen) -> tuple[dict[tuple[State, str], int], int]:
    """The trainings by state and queue, and the epochs of all."""
    columns = (_RUN.c.state, _RUN.c.device)
    query = (
        select(*columns, func.count(), func.sum(_RUN.c.epochs_done))
        .where(_IS_TRAINING, *_of_jobs(seen))
        .group_by(*columns)
    )
    counts: dict[tuple[State, str], int] = {}
    num_epochs = 0
    for state, device, count, epochs in connection.execute(query):
        key = (state, queue_of(device))
        counts[key] = counts.get(key, 0) + count
        num_epochs += epochs or 0
    return counts, num_epochs


def _look_at_due(connection: Connection, seen: Seen) -> tuple[dict[str, int], datetime | None]:
    query = (
        select(_RUN.c.device, func.count(), func.min(_RUN.c.created_at))
        .where(*_IS_DUE, *_of_jobs(seen))
        .group_by(_RUN.c.device)
    )
    counts: dict[str, int] = {}
    oldest: datetime | None = None
    for device, count, at in connection.execute(query):
        queue = queue_of(device)
        counts[queue] = counts.get(queue, 0) + count
        oldest = at if oldest is None else min(oldest, at)
    return counts, oldest


def _count_by_worker(connection: Connection, seen: Seen) -> dict[str, int]:
    """How many runs each worker holds that holds any."""
    held = (_RUN.c.state.in_(ACTIVE), _RUN.c.worker.is_not(None), *_of_jobs(seen))
    query = select(_RUN.c.worker, func.count()).where(*held).group_by(_RUN.c.worker)
    return dict(connection.execute(query).all())


def _of_jobs(seen: Seen) -> Seen:
    """The conditions for the runs of the jobs that are seen."""
    return (_RUN.c.job_id.in_(select(_JOB.c.id).where(*seen)),) if seen else ()


def _measure(connection: Connection) -> int:
    """The bytes of the database itself."""
    if connection.dialect.name == "sqlite":
        size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    else:
        size = "SELECT pg_database_size(current_database())"
    return int(connection.execute(text(size)).scalar_one())
