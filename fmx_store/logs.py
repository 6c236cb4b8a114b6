"""What runs print while they are trained, as it comes: the end of each run's log.

A run's whole log is one of its files when it has ended. What is kept here can be read before that,
and tells of attempts that have left no files too.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, insert
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, delete, select

from fmx_store.errors import NotFoundError
from fmx_store.history import look
from fmx_store.ids import is_id
from fmx_store.states import State
from fmx_store.tables import Job, LogPart, Run, now, table_of
from fmx_store.texts import storable
from fmx_store.viewers import Record, only_seen

PAGE_PARTS = 200
_TRIMS = 8  # while as much is written as is kept


@dataclass(frozen=True)
class Logged:
    """Bytes of an attempt's log from `start` on, and when they were read from it.

    Of the run's log the last `kept_bytes` are kept.
    """

    start: int
    content: bytes
    kept_bytes: int
    at: datetime = field(default_factory=now)

    @property
    def end(self) -> int:
        """Where the log goes on."""
        return self.start + len(self.content)


def append(session: Session, told: Sequence[tuple[Run, Logged]]) -> None:
    """Adds to the logs of locked runs what is new, so that a caller may repeat what it has told."""
    rows = [row for run, logged in told if (row := _make_part(run, logged)) is not None]
    if rows:
        session.exec(insert(LogPart), params=rows)
    for run, logged in told:
        step = max(1, logged.kept_bytes // _TRIMS)
        before, run.log_end = run.log_end, max(run.log_end, logged.end)
        begins_again = before == 0 and run.attempt > 1
        if begins_again or before // step != run.log_end // step:
            _trim(session, run, logged.kept_bytes)


def _make_part(run: Run, logged: Logged) -> dict[str, Any] | None:
    """What is not there yet of it, as a row."""
    content = logged.content[max(0, run.log_end - logged.start) :]
    if not content:
        return None
    return {
        "job_id": run.job_id,
        "run_id": run.id,
        "attempt": run.attempt,
        "start": logged.end - len(content),
        "num_bytes": len(content),
        "text": storable(content.decode(errors="replace")),
        "at": logged.at,
    }


def _trim(session: Session, run: Run, kept_bytes: int) -> None:
    """Drops the oldest parts of a run's log, so far as what is left is as much as is kept."""
    mine = col(LogPart.run_id) == run.id
    query = select(LogPart.id, LogPart.num_bytes).where(mine).order_by(col(LogPart.id).desc())
    parts = session.exec(query).all()
    sums = itertools.accumulate(num_bytes for _, num_bytes in parts)
    oldest = next(
        (part for (part, _), total in zip(parts, sums, strict=True) if total >= kept_bytes), None
    )
    if oldest is not None:
        session.exec(delete(LogPart).where(mine, col(LogPart.id) < oldest))


@dataclass(frozen=True)
class ReadPart:
    """Lines of a run's log as they are read."""

    id: int
    run_id: str
    run_name: str
    attempt: int
    start: int
    num_bytes: int
    text: str
    at: datetime


@dataclass(frozen=True)
class LogPage:
    """Parts of a job's log in their order, and the state that the job was in then."""

    parts: Sequence[ReadPart]
    state: State


_JOB, _RUN, _PART = table_of(Job), table_of(Run), table_of(LogPart)


def read_page(record: Record, job_id: str, run_id: str | None, after: int) -> LogPage:
    """The parts that come after one, up to so many; of one run only, if one is named.

    Raises NotFoundError.
    """
    query = _parts(job_id, run_id).where(_PART.c.id > after).order_by(_PART.c.id)
    with look(record) as connection:
        state = _require(connection, record, job_id, run_id)
        rows = connection.execute(query.limit(PAGE_PARTS)).all()
    return LogPage([ReadPart(*row) for row in rows], state)


def read_tail(record: Record, job_id: str, run_id: str | None, num_lines: int) -> LogPage:
    """The newest parts that have so many lines together, or all. Raises NotFoundError."""
    query = _parts(job_id, run_id).order_by(_PART.c.id.desc())
    found: list[ReadPart] = []
    lines_left = num_lines
    with look(record) as connection:
        state = _require(connection, record, job_id, run_id)
        with connection.execute(query.execution_options(yield_per=PAGE_PARTS)) as rows:
            for row in rows:
                found.append(ReadPart(*row))
                lines_left -= found[-1].text.count("\n")
                if lines_left <= 0:
                    break
    return LogPage(found[::-1], state)


def _parts(job_id: str, run_id: str | None) -> Select[Any]:
    columns = [_PART.c[name] for name in ("attempt", "start", "num_bytes", "text", "at")]
    query = sql_select(_PART.c.id, _PART.c.run_id, _RUN.c.name, *columns)
    query = query.join(_RUN, _RUN.c.id == _PART.c.run_id)
    return query.where(_PART.c.job_id == job_id if run_id is None else _PART.c.run_id == run_id)


def _require(connection: Connection, record: Record, job_id: str, run_id: str | None) -> State:
    """The job's state. Raises NotFoundError where it is not shown, or has no such run."""
    shown = only_seen(record, _JOB.c.owner)
    query = sql_select(_JOB.c.state).where(_JOB.c.id == job_id, *shown)
    state = connection.execute(query).scalar() if is_id(job_id) else None
    if state is None:
        raise NotFoundError("job", job_id)
    if run_id is not None:
        mine = sql_select(func.count()).where(_RUN.c.id == run_id, _RUN.c.job_id == job_id)
        if not is_id(run_id) or not connection.execute(mine).scalar():
            raise NotFoundError("run", run_id)
    return state
