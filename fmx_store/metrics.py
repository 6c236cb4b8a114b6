"""Reading the epochs of a run."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlmodel import col, select

from fmx_ml.sinks import EpochMetrics
from fmx_store.database import Database
from fmx_store.tables import Metric

T = TypeVar("T")


def read_metrics(db: Database, run_id: str, max_points: int | None = None) -> list[EpochMetrics]:
    """The run's epochs in order, thinned evenly to at most `max_points` where that is given."""
    rows = [row for _, row in _read(db, [run_id])]
    kept = thin(rows, max_points) if max_points is not None else rows
    return [_parse(row) for row in kept]


def read_histories(db: Database, run_ids: Sequence[str]) -> dict[str, list[EpochMetrics]]:
    """The epochs of each run in order, in one query."""
    histories: dict[str, list[EpochMetrics]] = {run_id: [] for run_id in run_ids}
    for run_id, row in _read(db, run_ids):
        histories[run_id].append(_parse(row))
    return histories


def _read(db: Database, run_ids: Sequence[str]) -> list[tuple[str, Sequence[Any]]]:
    """Each epoch's run and figures, by run and epoch."""
    columns = [col(getattr(Metric, name)) for name in EpochMetrics.columns()]
    query = select(Metric.run_id, *columns).where(col(Metric.run_id).in_(run_ids))
    with db.read() as session:
        rows = session.exec(query.order_by(col(Metric.run_id), col(Metric.epoch)))
        return [(run_id, row) for run_id, *row in rows]


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
