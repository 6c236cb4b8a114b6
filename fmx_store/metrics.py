"""Reading the epochs of a run."""

from collections.abc import Sequence
from typing import TypeVar

from sqlmodel import col, select

from fmx_ml.sinks import EpochMetrics
from fmx_store.database import Database
from fmx_store.tables import Metric

T = TypeVar("T")


def read_metrics(db: Database, run_id: str, max_points: int | None = None) -> list[EpochMetrics]:
    """The run's epochs in order, thinned evenly to at most `max_points` where that is given."""
    columns = [col(getattr(Metric, name)) for name in EpochMetrics.columns()]
    query = select(*columns).where(Metric.run_id == run_id).order_by(col(Metric.epoch))
    with db.read() as session:
        rows = session.exec(query).all()  # pyright: ignore[reportCallIssue, reportArgumentType] - any number of columns
    kept = thin(rows, max_points) if max_points is not None else rows
    names = EpochMetrics.columns()
    return [EpochMetrics(**dict(zip(names, row, strict=True))) for row in kept]


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
