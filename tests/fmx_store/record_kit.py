"""Ways to fill a record and to look at all of it, for the tests of this room."""

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import event
from sqlmodel import Session, SQLModel, col, select

from fmx_ml.requests import JobRequest, parse_request, plan
from fmx_ml.sinks import EpochMetrics
from fmx_ml.trainings import PlannedRun
from fmx_store import claims, jobs
from fmx_store.claims import Claim, Failure, Lease, Success
from fmx_store.database import Database
from fmx_store.history import check_history
from fmx_store.overviews import Version, read_versions
from fmx_store.states import Reason, State
from fmx_store.tables import Event, Job, Run

CPU = ("auto", "cpu")
CRASHES = 3
FAILED = Failure(Reason.NAN_LOSS, "nan_loss", "the loss is nan")

_seeds = itertools.count()


def request(*, seeds: int = 1, **values: Any) -> JobRequest:
    """A request for so many trainings that no other request asks for."""
    spec: dict[str, Any] = {"seeds": list(itertools.islice(_seeds, seeds)), "max_epochs": 20}
    spec.update(values.pop("spec", {}))
    return parse_request({"kind": "q1", "spec": spec, **values})


def submit(db: Database, *, seeds: int = 1, **values: Any) -> Job:
    """A recorded job with so many trainings."""
    return jobs.submit(db, request(seeds=seeds, **values), 1000).job


def submit_plan(db: Database, needs: Mapping[str, Sequence[str]], **values: Any) -> Job:
    """A recorded job whose trainings, by name, need others: {"a": (), "b": ("a",)}."""
    asked = request(seeds=len(needs), **values)
    planned = tuple(
        PlannedRun(name=name, training=p.training, needs=tuple(needed))
        for (name, needed), p in zip(needs.items(), plan(asked), strict=True)
    )
    with mock.patch("fmx_store.submissions.plan", return_value=planned):
        return jobs.submit(db, asked, 1000).job


def claim(db: Database, worker: str = "w") -> Claim:
    """The next run, which must be there."""
    claimed = claims.claim(db, worker, CPU)
    assert claimed is not None
    return claimed


def version_of(db: Database, job_id: str) -> Version:
    """A job's version and state."""
    return read_versions(db, [job_id])[job_id]


def epoch(number: int, **figures: Any) -> EpochMetrics:
    """One epoch's figures."""
    return EpochMetrics.model_validate(
        {"epoch": number, "train_loss": 1 / number, "seconds": 0.5, **figures}
    )


def finish_all(db: Database, job_id: str, outcomes: Mapping[str, Success | Failure] = {}) -> Job:
    """Claims and ends the runs of the job until none is due: those not named succeed."""
    while (claimed := claims.claim(db, "w", CPU)) is not None:
        assert claimed.lease.job_id == job_id
        claims.finish(db, claimed.lease, outcomes.get(claimed.run.name, Success()))
    return jobs.require_job(db, job_id)


def states_of(db: Database, job_id: str) -> dict[str, State]:
    """The state of each run, by name."""
    return {run.name: run.state for run in jobs.list_runs(db, job_id)}


def run_named(db: Database, job_id: str, name: str) -> Run:
    """One run of a job, its collation too."""
    return next(run for run in jobs.list_runs(db, job_id) if run.name == name)


def check_record(db: Database) -> None:
    """Nothing contradicts what has happened."""
    found = check_history(db)
    assert not found, "\n".join(map(str, found))


def dump(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    tables: dict[str, list[dict[str, Any]]] = {}
    with db.read() as session:
        for table in SQLModel.metadata.sorted_tables:
            rows = session.connection().execute(table.select()).mappings()
            tables[table.name] = sorted((dict(row) for row in rows), key=str)
    return tables


def add_all(db: Database, rows: Sequence[SQLModel]) -> None:
    """Rows, as they are."""
    with db.write() as session:
        session.add_all(rows)


def events_of(session: Session, job_id: str) -> list[Event]:
    """What happened to a job, in order."""
    return list(session.exec(select(Event).where(Event.job_id == job_id).order_by(col(Event.seq))))


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Calls functions at the same time; answers what they answered or raised."""

    def attempt(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - handed to the caller
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(attempt, calls))


def lease_of(run: Run) -> Lease:
    """The lease that the run's present attempt has."""
    return Lease(run_id=run.id, job_id=run.job_id, attempt=run.attempt)


@contextmanager
def statements(db: Database) -> Generator[list[str]]:
    """Fills a list with what the database is told meanwhile."""
    told: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        told.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
