"""Jobs in flight outlive an upgrade: a record that the first revision's code has left.

`first_record.sql` was written by that code's own server and worker: a job that has succeeded, one
that waits, and two whose worker was killed, of which one was being cancelled.
"""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from services import Column, migrate
from sqlalchemy import NullPool, create_engine, inspect, text
from stack import Process, job_of, running, wait_for_end, wait_until

from fmx_store import events, jobs
from fmx_store.database import Database
from fmx_store.history import check_history
from fmx_store.history_rules import Rule
from fmx_store.metrics import read_rows
from fmx_store.revision import EXPECTED_REVISION, VERSION_TABLE
from fmx_store.settings import Settings
from migrations import commands
from migrations.__main__ import main

END_SECONDS = 400  # of a job, on a machine that does much else
FIRST_REVISION = "2026_11_23_first_record"
RECORD = Path(__file__).with_name("first_record.sql")
# A silent worker is found out soon, and what its broker has lost with it is announced soon.
QUICK = {
    "port": 0,
    "worker_device": "cpu",
    "heartbeat_seconds": 0.3,
    "lease_seconds": 5,
    "max_crashes": 50,  # a machine that does much else may make a worker fall silent, too
    "dispatch_seconds": 1,
}

pytestmark = pytest.mark.timeout(900)

Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(params=["embedded", pytest.param("engines", marks=pytest.mark.services)])
def old_column(request: pytest.FixtureRequest, tmp_path: Path) -> Column:
    """A column whose record is of the first revision, with jobs in flight."""
    environment = {"FMX_DATA_DIR": str(tmp_path / "data")}
    if request.param == "engines":
        environment["FMX_DATABASE_URL"] = request.getfixturevalue("empty_postgres_url")
        environment["FMX_BROKER_URL"] = request.getfixturevalue("redis_url")
    column = Column(request.param, environment)
    settings = column.settings()
    assert commands.upgrade(settings.database, FIRST_REVISION) == FIRST_REVISION
    fill(settings)
    return column


def fill(settings: Settings) -> None:
    if settings.database_url:
        with psycopg.connect(settings.database_url, options="-c timezone=utc") as connection:
            connection.execute(RECORD.read_text())  # pyright: ignore[reportArgumentType, reportCallIssue] - a file's text
    else:
        file = settings.data_dir / "fmx.sqlite3"
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.executescript(RECORD.read_text())


def upgrade(column: Column) -> None:
    """By the command that an operator uses."""
    migrate(column.environment.get("FMX_DATABASE_URL", ""), column.data_dir)


@contextmanager
def serve(column: Column) -> Generator[tuple[httpx.Client, Process]]:
    """A server and a worker of the present code, whatever the record's revision."""
    environment = column.process_environment(**QUICK)
    with running(["api"], environment) as api, running(["worker"], environment) as worker:
        url = api.wait_for(r"listens on (http://\S+)")[1]
        with httpx.Client(base_url=url, timeout=30) as client:
            yield client, worker


def ids_by_name(client: httpx.Client) -> dict[str, str]:
    items = client.get("/v1/jobs").raise_for_status().json()["items"]
    return {item["name"]: item["id"] for item in items}


def runs_of(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    return client.get(f"/v1/jobs/{job_id}/runs").raise_for_status().json()["items"]


def epochs_of(client: httpx.Client, run_id: str) -> list[int]:
    rows = client.get(f"/v1/runs/{run_id}/metrics").raise_for_status().json()["rows"]
    return [row[0] for row in rows]


def test_jobs_in_flight_end_well_after_an_upgrade(old_column: Column) -> None:
    """Also where server and worker were upgraded before the record: they wait for it."""
    with serve(old_column) as (client, worker):
        worker.wait_for(rf"at revision {FIRST_REVISION} and this worker needs {EXPECTED_REVISION}")
        check_nothing_is_done(client)
        upgrade(old_column)
        wait_until(lambda: client.get("/readyz").is_success, 30)
        ids = ids_by_name(client)
        assert job_of(client, ids["succeeded"])["state"] == "succeeded"
        states = {
            name: wait_for_end(client, ids[name], END_SECONDS)["state"]
            for name in ("running", "cancelling", "queued")
        }
        assert states == {"running": "succeeded", "cancelling": "cancelled", "queued": "succeeded"}
        (run,) = runs_of(client, ids["running"])
        assert run["attempt"] >= 2, "taken from the worker that is no more"
        assert epochs_of(client, run["id"]) == [1, 2, 3, 4, 5, 6]
        assert len(runs_of(client, ids["queued"])) == 2
        check_what_was_there(client, ids)


def check_nothing_is_done(client: httpx.Client) -> None:
    """Before the migration nothing is lost or answered wrongly."""
    readiness = client.get("/readyz")
    assert readiness.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert not readiness.json()["checks"]["migrations"]["ok"]
    assert client.get("/healthz").status_code == httpx.codes.OK
    refused = client.post("/v1/jobs", json={"kind": "q1"})
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert "Retry-After" in refused.headers


def check_what_was_there(client: httpx.Client, ids: dict[str, str]) -> None:
    """What had ended reads as before, and a repeated request gets its answer of then."""
    results = client.get(f"/v1/jobs/{ids['succeeded']}/results").raise_for_status().json()
    assert {table["name"] for table in results["tables"]}
    (run,) = runs_of(client, ids["succeeded"])
    assert run["summary"]["test_accuracy"] > 0
    assert epochs_of(client, run["id"]) == [1, 2]
    assert "first" in job_of(client, ids["queued"])["tags"]
    for name in ("queued", "succeeded"):
        deleted = client.delete(f"/v1/jobs/{ids[name]}")
        assert deleted.status_code == httpx.codes.NO_CONTENT


def test_a_record_that_only_has_more_is_worked_on(column: Column) -> None:
    """As old servers and workers find it between the migration and their own upgrade."""
    with closing_engine(column) as connection:
        connection.execute(text("ALTER TABLE run ADD COLUMN of_the_future INTEGER"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'the_future'"))  # noqa: S608 - ours
    with serve(column) as (client, worker):
        wait_until(lambda: client.get("/readyz").is_success, 30)
        spec = {"dataset": "synthetic", "max_epochs": 1, "batch_size": 1000}
        answer = client.post("/v1/jobs", json={"kind": "q1", "spec": spec})
        assert answer.status_code == httpx.codes.ACCEPTED
        assert wait_for_end(client, answer.json()["id"], END_SECONDS)["state"] == "succeeded"
        assert not any("this worker needs" in line for line in worker.lines)


def test_a_record_of_another_code_is_not_migrated(
    column: Column, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing_engine(column) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'the_future'"))  # noqa: S608 - ours
    monkeypatch.setattr("migrations.__main__.get_settings", column.settings)
    assert main(["upgrade"]) == 1
    assert "the_future" in capsys.readouterr().err


def test_every_row_outlives_the_way_up_down_and_up(old_column: Column) -> None:
    url = old_column.settings().database
    with closing_engine(old_column) as connection:
        tables = inspect(connection).get_table_names()
    columns = {table: names_of(old_column, table) for table in tables}
    columns["job"].remove("version")  # which rises when more is told of a job
    first = rows_of(old_column, columns)
    assert {table: len(rows) for table, rows in first.items()} == {
        table: RECORD.read_text().count(f"INSERT INTO {table} ") for table in first
    }
    commands.upgrade(url)
    assert rows_of(old_column, columns) == first
    assert commands.downgrade(url, FIRST_REVISION) == FIRST_REVISION
    assert rows_of(old_column, columns) == first
    assert commands.upgrade(url) == EXPECTED_REVISION
    assert rows_of(old_column, columns) == first


def test_the_epochs_of_before_are_told_of(old_column: Column) -> None:
    url = old_column.settings().database
    commands.upgrade(url)
    commands.downgrade(url, FIRST_REVISION)
    commands.upgrade(url)
    db = Database(url)
    with db.look() as connection:
        ids = connection.execute(text("SELECT id FROM job")).scalars().all()
    num_told = 0
    for job_id in ids:
        window = events.read_window(db, job_id, events.Cursor())
        told = {e.data["run"]: e.data["rows"] for e in window.events if e.name == "epochs"}
        there = {run.id: read_rows(db, run.id) for run in jobs.list_runs(db, job_id)}
        assert told == {run: list(map(list, rows)) for run, rows in there.items() if rows}
        num_told += len(told)
    assert num_told == 3
    odd = {violation.rule for violation in check_history(db)}
    assert not odd & {Rule.METRICS, Rule.NUMBERING}
    db.close()


@contextmanager
def closing_engine(column: Column) -> Generator[Any]:
    """A connection in a transaction, and nothing left open after it."""
    engine = create_engine(column.settings().database, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def names_of(column: Column, table: str) -> list[str]:
    with closing_engine(column) as connection:
        return [found["name"] for found in inspect(connection).get_columns(table)]


def rows_of(column: Column, columns: dict[str, list[str]]) -> Rows:
    """These columns of every row, but for events that tell of epochs: the first code had none."""
    with closing_engine(column) as connection:
        return {
            table: sorted(
                map(
                    tuple,
                    connection.execute(
                        text(
                            f"SELECT {', '.join(names)} FROM {table}"  # noqa: S608 - ours
                            + (" WHERE type <> 'epochs'" if table == "event" else "")
                        )
                    ),
                ),
                key=repr,
            )
            for table, names in columns.items()
            if table != VERSION_TABLE
        }
