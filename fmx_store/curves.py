"""The epochs of all trainings of a job, thinned by the database to what a chart can show."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Integer, bindparam, or_, select

from fmx_ml.sinks import EpochMetrics
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.states import Role, State
from fmx_store.tables import Job, Metric, Run, table_of
from fmx_store.viewers import Record, shows

# How long an epoch took is no curve, and a sixth of the numbers.
CURVE_COLUMNS = tuple(name for name in EpochMetrics.columns() if name != "seconds")
MIN_POINTS = 4  # of a thinned curve; with fewer gaps the stride of one without epochs would be 0

_JOB, _RUN, _METRIC = table_of(Job), table_of(Run), table_of(Metric)


@dataclass(frozen=True)
class RunHead:
    """Which training a curve is of."""

    id: str
    name: str
    state: State
    attempt: int
    epochs_done: int


def read_curves(
    db: Record, job_id: str, max_points: int
) -> tuple[Sequence[RunHead], Mapping[str, Sequence[Sequence[Any]]]]:
    """A job's trainings in the plan's order, and by their ids the epochs of those that have some.

    Each run's epochs are in order, as rows of CURVE_COLUMNS; at most `max_points` of them, evenly,
    the first and the last among them. They are thinned by the database, since a job may have
    hundreds of thousands. Raises NotFoundError.
    """
    if not is_id(job_id):
        raise NotFoundError("job", job_id)
    curves = defaultdict[str, list[Sequence[Any]]](list)
    with db.look() as connection:
        owner = connection.execute(select(_JOB.c.owner).where(_JOB.c.id == job_id)).first()
        if owner is None or not shows(db, owner[0]):
            raise NotFoundError("job", job_id)
        heads = [RunHead(*row) for row in connection.execute(_HEADS, {"job_id": job_id})]
        given = {"job_id": job_id, "gaps": max_points - 1}
        for run_id, *row in connection.execute(_CURVES, given):
            curves[run_id].append(row)
    return heads, curves


_OF_JOB = (_RUN.c.job_id == bindparam("job_id"), _RUN.c.role == Role.TRAINING)
_HEADS = (
    select(*(_RUN.c[field.name] for field in fields(RunHead)))
    .where(*_OF_JOB)
    .order_by(_RUN.c.position)
)
# The epochs between two points of a curve, rounded up, so that no curve has more than it may.
_STRIDE = 1 + (_RUN.c.epochs_done - 2) // bindparam("gaps", type_=Integer)
_CURVES = (
    select(_METRIC.c.run_id, *(_METRIC.c[name] for name in CURVE_COLUMNS))
    .join(_RUN, _RUN.c.id == _METRIC.c.run_id)
    .where(
        *_OF_JOB,
        _METRIC.c.epoch <= _RUN.c.epochs_done,
        or_((_METRIC.c.epoch - 1) % _STRIDE == 0, _METRIC.c.epoch == _RUN.c.epochs_done),
    )
    .order_by(_METRIC.c.run_id, _METRIC.c.epoch)
)
