"""What happens to a job, told so that whoever breaks off can go on exactly where they were.

The log of events only grows, so what lies between two of its numbers never changes. It is told in
windows: the rows after `base` up to `upto`, of which the epochs of a run that follow one another
are one item, at the place of the first. A cursor names the window and how many items of it were
told; the same cursor always stands for the same rest of the story.

The log says which epochs there were; their figures are in the metrics. Epochs that a later
`rewound` has made void are left out.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from sqlalchemy import Connection, bindparam, select

from fmx_ml.sinks import EpochMetrics
from fmx_store.errors import CursorError, NotFoundError
from fmx_store.history import look
from fmx_store.ids import is_id
from fmx_store.states import ENDED, State
from fmx_store.tables import IS_UNDOING, Artifact, Event, Job, Metric, Run, table_of
from fmx_store.viewers import Record, only_seen

WINDOW_ROWS = 4_000  # of the log
WINDOW_EPOCHS = 10_000  # about a megabyte as JSON

_CURSOR = re.compile(r"(\d{1,9})(?:-(\d{1,9})-(\d{1,9})|(-end))?")


@dataclass(frozen=True)
class Cursor:
    """How far a story was told: all up to `base`, and `place` items of the window up to `upto`.

    `has_ended`: that it is over was told too.
    """

    base: int = 0
    upto: int = 0
    place: int = 0
    has_ended: bool = False

    def __str__(self) -> str:
        """As the id of an event: 12, 5-120-7, 120-end."""
        if self.has_ended:
            return f"{self.base}-end"
        return f"{self.base}-{self.upto}-{self.place}" if self.place else str(self.base)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cursor that an event's id is. Raises CursorError."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise CursorError(text)
        base, upto, place, end = found.groups()
        return cls(int(base), int(upto or 0), int(place or 0), has_ended=end is not None)


@dataclass(frozen=True)
class Told:
    """One event of a story, and where it goes on after it."""

    cursor: Cursor
    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Window:
    """Some events of a job's story; whether more are there already; the job as it was then."""

    events: Sequence[Told]
    cursor: Cursor
    has_more: bool
    version: int
    state: State

    @property
    def is_over(self) -> bool:
        """Whether nothing will follow, unless the job is retried."""
        return self.state in ENDED and not self.has_more


def read_window(record: Record, job_id: str, cursor: Cursor) -> Window:
    """What comes after a cursor. Raises NotFoundError, CursorError for one that is ahead of all."""
    with look(record) as connection:
        job = _require(connection, record, job_id)
        rows = _read_rows(connection, job_id, cursor)
        upto = max(cursor.base, cursor.upto, *(row.seq for row in rows))
        if upto > job.version:
            raise CursorError(str(cursor))
        story = _Story(connection, job_id, cursor.base, is_empty=not rows)
        items = _gather(rows, story.positions)
        left = [story.tell(item) for item in items[cursor.place :]]
        newest = connection.execute(_NEWEST, {"job": job_id}).scalar() or 0
    events = [
        Told(_after(cursor.base, upto, place, len(items)), *told)
        for place, told in enumerate(left, start=cursor.place + 1)
        if told is not None
    ]
    return Window(events, Cursor(upto), newest > upto, job.version, job.state)


def _after(base: int, upto: int, place: int, num_items: int) -> Cursor:
    return Cursor(upto) if place >= num_items else Cursor(base, upto, place)


_JOB, _RUN, _EVENT = table_of(Job), table_of(Run), table_of(Event)
_METRIC, _ARTIFACT = table_of(Metric), table_of(Artifact)
_OF_JOB = _EVENT.c.job_id == bindparam("job")
_LATER = _EVENT.c.seq > bindparam("base")
_ROWS = (
    select(_EVENT.c.seq, _EVENT.c.type, _EVENT.c.run_id, _EVENT.c.attempt, _EVENT.c.data)
    .where(_OF_JOB, _LATER)
    .order_by(_EVENT.c.seq)
)
_NEWEST = select(_EVENT.c.seq).where(_OF_JOB).order_by(_EVENT.c.seq.desc()).limit(1)
_RUNS = select(_RUN.c.id, _RUN.c.name, _RUN.c.position).where(_RUN.c.job_id == bindparam("job"))
# What makes void what was told before; there is an index of these alone.
_UNDOING = (
    select(_EVENT.c.seq, _EVENT.c.type, _EVENT.c.run_id, _EVENT.c.data)
    .where(_OF_JOB, _LATER, IS_UNDOING)
    .order_by(_EVENT.c.seq)
)
_FIGURES = (
    select(*(_METRIC.c[name] for name in EpochMetrics.columns()))
    .where(
        _METRIC.c.run_id == bindparam("run"),
        _METRIC.c.epoch.between(bindparam("first"), bindparam("last")),
    )
    .order_by(_METRIC.c.epoch)
)
_FILE_COLUMNS = ("path", "size_bytes", "sha256", "media_type")
_FILES = (
    select(*(_ARTIFACT.c[name] for name in _FILE_COLUMNS))
    .where(_ARTIFACT.c.run_id == bindparam("run"))
    .order_by(_ARTIFACT.c.path)
)


def _require(connection: Connection, record: Record, job_id: str) -> Any:
    query = select(_JOB.c.version, _JOB.c.state).where(
        _JOB.c.id == job_id, *only_seen(record, _JOB.c.owner)
    )
    job = connection.execute(query).first() if is_id(job_id) else None
    if job is None:
        raise NotFoundError("job", job_id)
    return job


def _read_rows(connection: Connection, job_id: str, cursor: Cursor) -> Sequence[Any]:
    """The rows of the window that a cursor is in, or of the next one."""
    query = _ROWS.where(_EVENT.c.seq <= cursor.upto) if cursor.upto else _ROWS
    told = {"job": job_id, "base": cursor.base}
    return list(_bound(connection.execute(query.limit(WINDOW_ROWS), told)))


def _bound(rows: Iterable[Any]) -> Iterator[Any]:
    """No more of them than have about so many epochs."""
    num_epochs = 0
    for row in rows:
        yield row
        if row.type == "epochs":
            num_epochs += sum(last - first + 1 for _, _, first, last in row.data["epochs"])
        if num_epochs >= WINDOW_EPOCHS:
            return


@dataclass(frozen=True)
class _Item:
    """An event of the log, or epochs of a run at `position` that follow one another in it."""

    seq: int
    type: str
    run_id: str | None = None
    attempt: int | None = None
    data: Mapping[str, Any] | None = None
    position: int | None = None
    first: int = 0
    last: int = 0


def _gather(rows: Iterable[Any], positions: Mapping[str, int]) -> list[_Item]:
    """The items of a window; whatever else happens to a run ends its epochs before it."""
    items: list[_Item] = []
    going: dict[int, int] = {}  # where more epochs of a run go, by its position
    for row in rows:
        if row.type != "epochs":
            going.pop(positions.get(row.run_id, -1), None)
            items.append(_Item(*row))
            continue
        for position, attempt, first, last in row.data["epochs"]:
            place = going.get(position)
            if place is not None and _goes_on(items[place], attempt, first):
                items[place] = replace(items[place], last=last)
            else:
                going[position] = len(items)
                items.append(_epochs(row.seq, position, attempt, first, last))
    return items


def _goes_on(item: _Item, attempt: int, first: int) -> bool:
    return item.attempt == attempt and item.last + 1 == first


def _epochs(seq: int, position: int, attempt: int, first: int, last: int) -> _Item:
    return _Item(seq, "epochs", attempt=attempt, position=position, first=first, last=last)


class _Story:
    """Tells items, with what other tables have of them."""

    def __init__(self, connection: Connection, job_id: str, base: int, *, is_empty: bool) -> None:
        """Reads what items may be about; nothing where there is none."""
        self._connection = connection
        runs = () if is_empty else connection.execute(_RUNS, {"job": job_id}).all()
        self._names = {run_id: name for run_id, name, _ in runs}
        self._ids = {position: run_id for run_id, _, position in runs}
        self.positions = {run_id: position for position, run_id in self._ids.items()}
        self._rewinds = defaultdict[str, list[tuple[int, int]]](list)
        self._ends: dict[str, int] = {}
        told = {"job": job_id, "base": base}
        for seq, kind, run_id, data in () if is_empty else connection.execute(_UNDOING, told):
            if kind == "rewound":
                self._rewinds[run_id].append((seq, data["epoch"]))
            else:
                self._ends[run_id] = seq

    def tell(self, item: _Item) -> tuple[str, Mapping[str, Any]] | None:
        """An item's event; None where nothing is left of it."""
        data = item.data or {}
        match item.type:
            case "job":
                told = {"state": data["state"], "reason": data["reason"], "version": item.seq}
            case "run":
                told = {
                    **self._name(item.run_id),
                    "state": data["state"],
                    "reason": data["reason"],
                    "attempt": item.attempt,
                }
            case "rewound":
                told = {"run": item.run_id, "attempt": item.attempt, "epoch": data["epoch"]}
            case "epochs":
                told = self._tell_epochs(item)
            case "artifacts":
                told = self._tell_files(item)
            case _:
                told = None
        return None if told is None else (item.type, told)

    def _name(self, run_id: str | None) -> dict[str, Any]:
        return {"run": run_id, "name": self._names.get(run_id or "")}

    def _tell_epochs(self, item: _Item) -> Mapping[str, Any] | None:
        run_id = self._ids[item.position or 0]
        kept = (epoch for seq, epoch in self._rewinds[run_id] if seq > item.seq)
        last = min([item.last, *kept])
        if last < item.first:
            return None
        told = {"run": run_id, "first": item.first, "last": last}
        rows = [list(row) for row in self._connection.execute(_FIGURES, told)]
        table = {"columns": EpochMetrics.columns(), "rows": rows}
        return {**self._name(run_id), "attempt": item.attempt, **table}

    def _tell_files(self, item: _Item) -> Mapping[str, Any] | None:
        """The files of a run's end; those of an end before its last one are gone."""
        run_id = item.run_id or ""
        if self._ends.get(run_id) != item.seq:
            return None
        found = self._connection.execute(_FILES, {"run": run_id})
        return {"run": run_id, "items": [dict(row) for row in found.mappings()]}
