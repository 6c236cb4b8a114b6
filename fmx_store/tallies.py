"""What trainings come to: counted and summed by the database, in two queries for any list of jobs.

A job may have hundreds of runs and a list many jobs, so no run is read one by one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, func
from sqlalchemy import select as sql_select
from sqlmodel import col, select

from fmx_store.database import Database
from fmx_store.states import ACTIVE, ENDED, Role, State
from fmx_store.tables import Job, Run, table_of
from fmx_store.viewers import Record, only_seen

# What paces are taken from: the newest, of so many jobs and runs.
LOOK_BACK_JOBS = 20
LOOK_BACK_RUNS = 500


@dataclass(frozen=True)
class Group:
    """The trainings of a job that are in one state; `seconds` sums the paces that are known."""

    num_runs: int
    epochs_done: int
    epochs_total: int
    num_paced: int
    seconds: float


@dataclass(frozen=True)
class Tally:
    """A job's trainings by state, and what the first active one does."""

    groups: Mapping[State, Group] = field(default_factory=dict[State, Group])
    phase: str | None = None

    def count(self, state: State) -> int:
        """How many are in a state."""
        return self.groups[state].num_runs if state in self.groups else 0

    @property
    def num_active(self) -> int:
        """How many a worker holds."""
        return sum(self.count(state) for state in ACTIVE)

    @property
    def have_ended(self) -> bool:
        """Whether nothing more will happen to any of them."""
        return self.groups.keys() <= ENDED

    @property
    def epochs_done(self) -> int:
        """Epochs that were trained."""
        return sum(group.epochs_done for group in self.groups.values())

    @property
    def epochs_total(self) -> int:
        """Epochs at most."""
        return sum(group.epochs_total for group in self.groups.values())

    @property
    def epochs_left(self) -> int:
        """Epochs at most of those that have not ended."""
        left = [group for state, group in self.groups.items() if state not in ENDED]
        return sum(group.epochs_total - group.epochs_done for group in left)

    @property
    def seconds_per_epoch(self) -> float | None:
        """The mean over those whose pace is known."""
        num_paced = sum(group.num_paced for group in self.groups.values())
        seconds = sum(group.seconds for group in self.groups.values())
        return seconds / num_paced if num_paced else None


_RUN = table_of(Run)
_MINE = (_RUN.c.job_id.in_(bindparam("ids", expanding=True)), _RUN.c.role == Role.TRAINING)
_COUNTED = (
    sql_select(
        _RUN.c.job_id,
        _RUN.c.state,
        func.count(),
        func.sum(_RUN.c.epochs_done),
        func.sum(_RUN.c.epochs_total),
        func.count(_RUN.c.seconds_per_epoch),
        func.coalesce(func.sum(_RUN.c.seconds_per_epoch), 0.0),
    )
    .where(*_MINE)
    .group_by(_RUN.c.job_id, _RUN.c.state)
)
_ACTIVE = (
    sql_select(_RUN.c.job_id, _RUN.c.phase)
    .where(*_MINE, _RUN.c.state.in_(ACTIVE))
    .order_by(_RUN.c.position.desc())
)


def tally_jobs(db: Database, job_ids: Sequence[str]) -> dict[str, Tally]:
    """The tally of each job."""
    with db.look() as connection:
        return read_tallies(connection, job_ids)


def read_tallies(connection: Connection, job_ids: Sequence[str]) -> dict[str, Tally]:
    """The tally of each job, within a caller's transaction."""
    groups = defaultdict[str, dict[State, Group]](dict)
    for job_id, state, *sums in connection.execute(_COUNTED, {"ids": job_ids}):
        groups[job_id][state] = Group(*sums)
    busy = [job_id for job_id, found in groups.items() if found.keys() & ACTIVE]
    phases = _read_phases(connection, busy) if busy else {}
    return {job_id: Tally(groups[job_id], phases.get(job_id)) for job_id in job_ids}


def _read_phases(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    """What the first active run of each job does."""
    rows: Sequence[Any] = connection.execute(_ACTIVE, {"ids": job_ids}).all()
    return dict(rows)


def list_paces(db: Record, kind: str) -> Sequence[tuple[dict[str, Any], float]]:
    """Trainings of the newest jobs of a kind that have succeeded, with their seconds an epoch."""
    newest = select(Job.id).where(
        Job.kind == kind, Job.state == State.SUCCEEDED, *only_seen(db, col(Job.owner))
    )
    with db.read() as session:
        ids = session.exec(newest.order_by(col(Job.id).desc()).limit(LOOK_BACK_JOBS)).all()
        query = select(Run.training, Run.seconds_per_epoch).where(
            col(Run.job_id).in_(ids), col(Run.seconds_per_epoch).is_not(None)
        )
        found: Sequence[Any] = session.exec(
            query.order_by(col(Run.id).desc()).limit(LOOK_BACK_RUNS)
        ).all()
    return [(training, pace) for training, pace in found if training and pace is not None]
