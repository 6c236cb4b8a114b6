"""The database: transactions, what is announced after them, forks, and what it keeps exactly."""

import json
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from record_kit import dump, submit, together
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as WaitedTooLongError

from fmx_store import database, jobs
from fmx_store.database import OUTAGES, Database, Ring
from fmx_store.lifecycle import lock_job, note, ring
from fmx_store.revision import EXPECTED_REVISION, get_revision
from fmx_store.settings import Settings
from fmx_store.tables import Event, Job

LATE = timezone(timedelta(hours=5, minutes=45))


class StoppedError(Exception):
    """A caller that gives up in the middle."""


def test_a_write_that_fails_leaves_no_row_and_no_ring(db: Database, rings: list[Ring]) -> None:
    job = submit(db)
    run = jobs.list_runs(db, job.id)[0]
    rings.clear()
    before = dump(db)

    def write_and_stop() -> None:
        with db.write() as session:
            held = lock_job(session, job.id)
            held.name = "changed"
            note(session, held, "job", state="queued")
            ring(session, run)
            session.flush()
            raise StoppedError

    with pytest.raises(StoppedError):
        write_and_stop()
    assert dump(db) == before
    assert rings == []
    assert jobs.cancel(db, job.id).name is None


def test_a_commit_that_fails_announces_nothing(db: Database, rings: list[Ring]) -> None:
    job = submit(db)
    run = jobs.list_runs(db, job.id)[0]
    rings.clear()
    before = dump(db)

    def add_twice() -> None:
        with db.write() as session:
            ring(session, run)
            session.add(Event(job_id=job.id, seq=1, type="job", data={}))

    with pytest.raises(DBAPIError):
        add_twice()
    assert (dump(db), rings) == (before, [])


def test_a_ring_comes_after_the_commit_and_once(database_url: str) -> None:
    seen: list[tuple[list[Ring], int]] = []
    db = Database(
        database_url, on_commit=lambda rung: seen.append((rung, len(jobs.list_jobs(db).items)))
    )
    job = submit(db)
    run = jobs.list_runs(db, job.id)[0]
    assert seen == [([(run.id, "cpu")], 1)]
    with db.write() as session:
        for _ in range(3):
            ring(session, run)
    assert seen[1][0] == [(run.id, "cpu")]
    jobs.cancel(db, job.id)
    assert len(seen) == 2
    db.close()


def test_a_doorbell_that_fails_does_not_undo_the_write(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_rings: list[Ring]) -> None:
        raise StoppedError("no bell")

    db = Database(database_url, on_commit=fail)
    job = submit(db)
    assert jobs.require_job(db, job.id).id == job.id
    assert "no bell" in caplog.text
    db.close()


def test_what_was_read_stays_readable(db: Database) -> None:
    job = submit(db, tags=["t"])
    runs = jobs.list_runs(db, job.id)
    db.close()
    assert (job.state, runs[0].training is not None) == ("queued", True)


def test_json_comes_back_as_it_went_in(db: Database) -> None:
    job = submit(db)
    value: dict[str, Any] = {
        "z": 1,
        "a": [1e30, 5e-324, 0.1 + 0.2, 1.0, -0.0, 2**53, None, True],
        "text": 'ä \u2028 \U0001f600 \\ "',
        "nested": {"b": {}, "a": []},
    }
    with db.write() as session:
        lock_job(session, job.id).results = value
    found = jobs.require_job(db, job.id).results
    assert json.dumps(found) == json.dumps(value)


def test_none_in_a_json_column_is_null(db: Database) -> None:
    submit(db)
    with db.read() as session:
        query = text("SELECT count(*) FROM job WHERE error IS NULL AND results IS NULL")
        assert session.connection().execute(query).scalar() == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_that_is_none_is_refused(db: Database, number: float) -> None:
    job = submit(db)

    def write() -> None:
        with db.write() as session:
            lock_job(session, job.id).results = {"a": number}

    with pytest.raises(Exception, match="not JSON compliant"):
        write()
    assert jobs.require_job(db, job.id).results is None


def test_times_come_back_in_utc_to_the_microsecond(db: Database) -> None:
    job = submit(db)
    moment = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=LATE)
    with db.write() as session:
        lock_job(session, job.id).started_at = moment
    found = jobs.require_job(db, job.id).started_at
    assert found == moment
    assert found is not None
    assert found.utcoffset() == timedelta(0)


def test_a_lock_shows_what_was_committed_while_it_was_waited_for(db: Database) -> None:
    job = submit(db)
    read, written = threading.Event(), threading.Event()

    def look_then_lock() -> tuple[int, int]:
        with db.read() as reader:
            seen = reader.get(Job, job.id)
            assert seen is not None
        read.set()
        written.wait(5)
        with db.write() as session:
            stale = session.get(Job, job.id)
            assert stale is not None
            before = stale.version
            session.expire_all()
            return before, lock_job(session, job.id).version

    def write() -> None:
        read.wait(5)
        with db.write() as session:
            held = lock_job(session, job.id)
            note(session, held, "job", state="queued")
        written.set()

    assert together(look_then_lock, write)[0] == (2, 2)


@pytest.mark.services
def test_a_row_that_is_known_is_read_again_under_its_lock(postgres_url: str) -> None:
    """Another may write between a look and a lock of one transaction, as it can't on SQLite."""
    db = Database(Settings(database_url=postgres_url).database)
    job = submit(db)
    with db.write() as session:
        known = session.get(Job, job.id)
        assert known is not None
        jobs.cancel(db, job.id)
        assert known.state == "queued"
        assert lock_job(session, job.id) is known
        assert known.state == "cancelled"
    db.close()


def test_threads_write_one_after_another(db: Database) -> None:
    job = submit(db)

    def count() -> None:
        for _ in range(20):
            with db.write() as session:
                held = lock_job(session, job.id)
                note(session, held, "count")

    assert together(*[count] * 6) == [None] * 6
    assert jobs.require_job(db, job.id).version == 121


def test_a_reader_is_not_kept_waiting_by_a_writer(db: Database) -> None:
    job = submit(db)
    with db.write() as session:
        lock_job(session, job.id).name = "later"
        session.flush()
        assert jobs.require_job(db, job.id).name is None
    assert jobs.require_job(db, job.id).name == "later"


def test_the_revision_is_told(db: Database, tmp_path: Path) -> None:
    assert get_revision(db) == EXPECTED_REVISION
    fresh = Database(f"sqlite:///{tmp_path}/fresh.sqlite3")
    assert get_revision(fresh) is None
    fresh.close()


def test_sqlite_says_when_a_thread_writes_for_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.1)
    db = Database(f"sqlite:///{tmp_path}/a.sqlite3")

    def write_within_a_write() -> None:
        with db.write(), db.write():
            pass

    with pytest.raises(WaitedTooLongError, match="another thread"):
        write_within_a_write()
    with db.write() as session:
        session.connection().exec_driver_sql("CREATE TABLE t (x)")
    db.close()


def test_sqlite_says_when_a_process_writes_for_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.1)
    one = Database(f"sqlite:///{tmp_path}/a.sqlite3")
    other = Database(f"sqlite:///{tmp_path}/a.sqlite3")
    with one.write() as session:
        session.connection()
        with pytest.raises(OperationalError, match="locked"), other.write() as blocked:
            blocked.connection()
    one.close()
    other.close()


def test_sqlite_is_safe_against_a_power_cut(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/a.sqlite3")
    with db.read() as session:
        connection = session.connection()
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    db.close()


@pytest.mark.services
def test_postgresql_frees_what_a_frozen_process_holds(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction ends by itself, and nothing of it is written."""
    monkeypatch.setattr(database, "IDLE_TRANSACTION_SECONDS", 1)
    url = Settings(database_url=postgres_url).database
    frozen, other = Database(url), Database(url)
    job = submit(other)

    def freeze() -> None:
        with frozen.write() as session:
            lock_job(session, job.id).name = "half done"
            session.flush()
            time.sleep(1.5)

    def cancel() -> float:
        time.sleep(0.2)
        started = time.monotonic()
        jobs.cancel(other, job.id)
        return time.monotonic() - started

    failed, waited = together(freeze, cancel)
    assert isinstance(failed, OUTAGES)
    assert 0.5 < waited < 1.4
    assert jobs.require_job(other, job.id).name is None
    frozen.close()
    other.close()


@pytest.mark.services
def test_postgresql_gives_up_a_lock_that_is_held_for_too_long(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_SECONDS", 1)
    db = Database(Settings(database_url=postgres_url).database)
    job = submit(db)
    with db.write() as session:
        lock_job(session, job.id)
        with pytest.raises(OperationalError, match="lock timeout"):
            jobs.cancel(db, job.id)
    assert jobs.cancel(db, job.id).state == "cancelled"
    db.close()


@pytest.mark.services
def test_options_of_a_postgresql_url_win(postgres_url: str) -> None:
    url = f"{postgres_url}?options=-c%20lock_timeout%3D7s%20-c%20application_name%3Dmine"
    db = Database(Settings(database_url=url).database)
    with db.read() as session:
        shown = [
            session.connection().exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("lock_timeout", "application_name", "timezone")
        ]
    assert shown == ["7s", "mine", "UTC"]
    db.close()
