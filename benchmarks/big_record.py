"""A record of many jobs, runs and epochs: copied within the database, so in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    String,
    case,
    cast,
    func,
    insert,
    literal,
    select,
    true,
)
from sqlmodel import SQLModel

from fmx_ml.requests import parse_request
from fmx_store.database import Database
from fmx_store.ids import ID_LENGTH
from fmx_store.states import State
from fmx_store.submissions import Submission, record
from fmx_store.tables import (
    Artifact,
    Blob,
    Event,
    Job,
    JobTag,
    Metric,
    Model,
    Run,
    RunNeed,
    now,
    table_of,
)

WAITING = 10  # each tenth job waits; the others have succeeded
COMMON, RARE = "common", "rare"  # tags of all jobs, and of each thousandth
RARITY = 1000
EPOCHS_OF_ONE = 10_000  # of one training, the most that a request may ask for
FILES_OF_ONE = 1_000


@dataclass(frozen=True)
class BigRecord:
    """Ids of the job whose training has the most epochs and files, and of that training."""

    job_id: str
    run_id: str


def fill(db: Database, num_jobs: int, num_metrics: int) -> BigRecord:
    """Adds jobs of one training, all older than what is submitted by now, and their epochs."""
    request = parse_request({"kind": "q1", "preset": "quick", "tags": [COMMON]})
    pattern = record(db, Submission(request), max_runs=1).job_id
    with db.write() as session:
        _Filling(session.connection(), pattern, num_jobs, is_sqlite=db.is_sqlite).fill(num_metrics)
    if not db.is_sqlite:  # which has statistics only where it is told to make them
        with db.write() as session:
            session.connection().exec_driver_sql("ANALYZE")
    return BigRecord("1".zfill(ID_LENGTH), "1".zfill(ID_LENGTH))


class _Filling:
    """Copies of one job; the n-th has the number n as its id, its runs n and n + num_jobs."""

    def __init__(
        self, connection: Connection, pattern: str, num_jobs: int, *, is_sqlite: bool
    ) -> None:
        self._connection = connection
        self._pattern = pattern
        self._num_jobs = num_jobs
        self._is_sqlite = is_sqlite
        self._numbers = _count_to(num_jobs, "numbers")
        self._n = self._numbers.c.n
        waits = self._n % WAITING == 0
        self._state = case((waits, State.QUEUED.value), else_=State.SUCCEEDED.value)
        self._has_ended = ~waits

    def fill(self, num_metrics: int) -> None:
        job_id, run_id = self._id(self._n), self._id(self._n)
        collation_id = self._id(self._n + self._num_jobs)
        job: dict[str, ColumnElement[Any]] = {"job_id": job_id}
        self._copy(Job, {"id": job_id, "state": self._state})
        self._copy(JobTag, job)
        self._copy(JobTag, {**job, "tag": literal(RARE)}, self._n % RARITY == 0)
        self._copy(Event, job)
        run = table_of(Run)
        ended = {**job, "state": self._state}
        self._copy(Run, {**ended, "id": run_id, "epochs_done": run.c.epochs_total}, _POSITION == 0)
        self._copy(Run, {**ended, "id": collation_id, "rung_at": run.c.created_at}, _POSITION == 1)
        self._copy(RunNeed, {"run_id": collation_id, "needs_id": run_id})
        self._make(Model, _model_of(job_id, run_id), self._has_ended)
        self._fill_metrics(run_id, num_metrics)
        self._fill_files()

    def _copy(
        self,
        model: type[SQLModel],
        changes: Mapping[str, ColumnElement[Any]],
        condition: ColumnElement[bool] | None = None,
    ) -> None:
        """Rows of the pattern's, once for each number, with some columns of their own."""
        table = table_of(model)
        mine = _pattern_of(model, self._pattern)
        columns = {column.name: changes.get(column.name, column) for column in table.c}
        rows = select(*columns.values()).select_from(table.join(self._numbers, true()))
        chosen = rows.where(mine, true() if condition is None else condition)
        self._connection.execute(insert(table).from_select(list(columns), chosen))

    def _make(
        self, model: type[SQLModel], values: Mapping[str, ColumnElement[Any]], condition: Any
    ) -> None:
        """A row for each number of which the condition holds."""
        rows = select(*values.values()).select_from(self._numbers).where(condition)
        self._connection.execute(insert(table_of(model)).from_select(list(values), rows))

    def _fill_metrics(self, run_id: ColumnElement[str], num_metrics: int) -> None:
        num_others = self._num_jobs - self._num_jobs // WAITING - 1
        each = max(1, (num_metrics - EPOCHS_OF_ONE) // max(1, num_others))
        self._write_epochs(run_id, EPOCHS_OF_ONE, self._n == 1)
        self._write_epochs(run_id, each, self._has_ended & (self._n > 1))

    def _write_epochs(
        self, run_id: ColumnElement[str], number: int, condition: ColumnElement[bool]
    ) -> None:
        epochs = _count_to(number, "epochs")
        values: dict[str, ColumnElement[Any]] = {
            "run_id": run_id,
            "epoch": epochs.c.n,
            "attempt": literal(1),
            "train_loss": 1.0 / epochs.c.n,
            "val_loss": 1.1 / epochs.c.n,
            "val_accuracy": 1 - 0.5 / epochs.c.n,
            "seconds": literal(1.25),
        }
        pairs = self._numbers.join(epochs, true())
        rows = select(*values.values()).select_from(pairs).where(condition)
        self._connection.execute(insert(table_of(Metric)).from_select(list(values), rows))

    def _fill_files(self) -> None:
        digest = "0" * 64
        self._connection.execute(
            insert(table_of(Blob)), {"sha256": digest, "size_bytes": 1, "created_at": now()}
        )
        one = "1".zfill(ID_LENGTH)
        rows = [
            {
                "job_id": one,
                "run_id": one,
                "sha256": digest,
                "size_bytes": 1,
                "path": f"seed-0/file-{number:04}.txt",
                "media_type": "text/plain",
                "created_at": now(),
            }
            for number in range(FILES_OF_ONE)
        ]
        self._connection.execute(insert(table_of(Artifact)), rows)

    def _id(self, number: ColumnElement[int]) -> ColumnElement[str]:
        if self._is_sqlite:
            return func.printf(f"%0{ID_LENGTH}d", number)
        return func.lpad(cast(number, String), ID_LENGTH, "0")


_POSITION = table_of(Run).c.position


def _count_to(number: int, name: str) -> CTE:
    """The whole numbers from 1."""
    numbers = select(literal(1, Integer).label("n")).cte(name, recursive=True)
    return numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < number))


def _pattern_of(model: type[SQLModel], job_id: str) -> ColumnElement[bool]:
    """Which rows of a table are the pattern's."""
    table = table_of(model)
    if model is Job:
        return table.c.id == job_id
    if model is RunNeed:
        runs = select(table_of(Run).c.id).where(table_of(Run).c.job_id == job_id)
        return table.c.run_id.in_(runs)
    return table.c.job_id == job_id


def _model_of(job_id: ColumnElement[str], run_id: ColumnElement[str]) -> dict[str, Any]:
    return {
        "id": run_id,
        "run_id": run_id,
        "job_id": job_id,
        "kind": literal("q1"),
        "run_name": literal("seed-0"),
        "dataset": literal("fashion-mnist"),
        "test_accuracy": literal(0.98),
        "created_at": literal(now(), table_of(Model).c.created_at.type),
    }
