"""The epochs of runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import and_, bindparam, func, select, tuple_
from sqlmodel import Session, col, delete, insert

from fmx_ml.sinks import EpochMetrics
from fmx_store.database import Database
from fmx_store.tables import Metric, table_of
from fmx_store.viewers import Record

T = TypeVar("T")


def write_epochs(
    session: Session, attempts: Mapping[str, int], epochs: Mapping[str, Sequence[EpochMetrics]]
) -> None:
    """Writes epochs of attempts, by the ids of their runs; of one written twice, the last counts.

    A figure that is not finite is written as none.
    """
    rows = {(run_id, m.epoch): m.model_dump() for run_id, each in epochs.items() for m in each}
    keys = tuple_(col(Metric.run_id), col(Metric.epoch))
    session.exec(delete(Metric).where(keys.in_(list(rows))))
    session.exec(
        insert(Metric),
        params=[
            {"run_id": run_id, "attempt": attempts[run_id], **_finite(figures)}
            for (run_id, _), figures in rows.items()
        ],
    )


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN, and the two databases keep one differently."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }


def read_rows(db: Record, run_id: str, max_points: int | None = None) -> Sequence[Sequence[Any]]:
    """The run's epochs in order, as rows of EpochMetrics' columns; at most `max_points`, evenly."""
    rows = [row for _, *row in _read(db, [run_id])]
    return thin(rows, max_points) if max_points is not None else rows


def read_metrics(db: Database, run_id: str, max_points: int | None = None) -> list[EpochMetrics]:
    """`read_rows`, each parsed."""
    return [_parse(row) for row in read_rows(db, run_id, max_points)]


def read_histories(db: Database, run_ids: Sequence[str]) -> dict[str, list[EpochMetrics]]:
    """The epochs of each run in order, in one query."""
    histories: dict[str, list[EpochMetrics]] = {run_id: [] for run_id in run_ids}
    for run_id, *row in _read(db, run_ids):
        histories[run_id].append(_parse(row))
    return histories


def read_last(db: Record, run_ids: Sequence[str]) -> dict[str, tuple[EpochMetrics, float]]:
    """The last epoch of each run that has one, and the seconds that all of its epochs took."""
    found: dict[str, tuple[EpochMetrics, float]] = {}
    for start in range(0, len(run_ids), _AT_ONCE):
        with db.look() as connection:
            ids = {"ids": run_ids[start : start + _AT_ONCE]}
            rows: Sequence[Any] = connection.execute(_LAST, ids).all()
        for run_id, seconds, *row in rows:
            found[run_id] = _parse(row), seconds
    return found


_AT_ONCE = 1000  # runs of one query
_METRIC = table_of(Metric)
_LENGTHS = (
    select(
        _METRIC.c.run_id,
        func.max(_METRIC.c.epoch).label("epoch"),
        func.sum(_METRIC.c.seconds).label("all_seconds"),
    )
    .where(_METRIC.c.run_id.in_(bindparam("ids", expanding=True)))
    .group_by(_METRIC.c.run_id)
    .subquery()
)
_LAST = select(
    _METRIC.c.run_id,
    _LENGTHS.c.all_seconds,
    *(_METRIC.c[name] for name in EpochMetrics.columns()),
).join(
    _LENGTHS,
    and_(_LENGTHS.c.run_id == _METRIC.c.run_id, _LENGTHS.c.epoch == _METRIC.c.epoch),
)
_BY_EPOCH = (
    select(_METRIC.c.run_id, *(_METRIC.c[name] for name in EpochMetrics.columns()))
    .where(_METRIC.c.run_id.in_(bindparam("ids", expanding=True)))
    .order_by(_METRIC.c.run_id, _METRIC.c.epoch)
)


def _read(db: Record, run_ids: Sequence[str]) -> Sequence[Any]:
    """Each epoch's run and figures, by run and epoch."""
    with db.look() as connection:
        return connection.execute(_BY_EPOCH, {"ids": run_ids}).all()


def _parse(row: Sequence[Any]) -> EpochMetrics:
    return EpochMetrics(**dict(zip(EpochMetrics.columns(), row, strict=True)))


def thin(rows: Sequence[T], max_points: int) -> list[T]:
    """At most `max_points` of the rows, evenly spaced, the first and the last among them.

    With room for one row only, that is the last.
    """
    if len(rows) <= max_points:
        return list(rows)
    if max_points == 1:
        return [rows[-1]]
    step = (len(rows) - 1) / (max_points - 1)
    return [rows[round(i * step)] for i in range(max_points)]
