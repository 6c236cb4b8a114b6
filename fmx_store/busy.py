"""Who is doing what: the runs that workers hold, and those that wait for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import func, select

from fmx_store.states import ACTIVE, Role, State
from fmx_store.tables import Job, Run, table_of
from fmx_store.viewers import Record, only_seen

MAX_SHOWN = 500  # of the runs that are held

_JOB, _RUN = table_of(Job), table_of(Run)


@dataclass(frozen=True)
class HeldRun:
    """A run that a worker holds; `device` is what it asked for."""

    id: str
    job_id: str
    name: str
    role: Role
    state: State
    worker: str | None
    device: str
    phase: str
    attempt: int
    epochs_done: int
    epochs_total: int
    seconds_per_epoch: float | None
    started_at: datetime | None


@dataclass(frozen=True)
class Queue:
    """The runs that wait for a device: those that are due, and those that others must come before.

    `oldest` is when the first of those that are due was made.
    """

    due: int
    blocked: int
    oldest: datetime | None


def list_held(db: Record) -> Sequence[HeldRun]:
    """The runs that workers hold, by worker and name, up to MAX_SHOWN."""
    query = (
        select(*(_RUN.c[field.name] for field in fields(HeldRun)))
        .join(_JOB, _JOB.c.id == _RUN.c.job_id)
        .where(_RUN.c.state.in_(ACTIVE), *only_seen(db, _JOB.c.owner))
        .order_by(_RUN.c.worker, _RUN.c.position)
        .limit(MAX_SHOWN)
    )
    with db.look() as connection:
        return [HeldRun(*row) for row in connection.execute(query)]


def count_waiting(db: Record) -> Mapping[str, Queue]:
    """What waits, by the device that is asked for."""
    is_due = _RUN.c.waiting_for == 0
    query = (
        select(_RUN.c.device, is_due, func.count(), func.min(_RUN.c.created_at))
        .join(_JOB, _JOB.c.id == _RUN.c.job_id)
        .where(_RUN.c.state == State.QUEUED, *only_seen(db, _JOB.c.owner))
        .group_by(_RUN.c.device, is_due)
    )
    with db.look() as connection:
        rows = connection.execute(query).all()
    found = {(device, bool(due)): (count, oldest) for device, due, count, oldest in rows}
    devices = sorted({device for device, _ in found})
    nothing = (0, None)
    return {
        device: Queue(
            due=found.get((device, True), nothing)[0],
            blocked=found.get((device, False), nothing)[0],
            oldest=found.get((device, True), nothing)[1],
        )
        for device in devices
    }
