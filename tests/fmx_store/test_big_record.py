"""A record of many jobs: what is asked often goes by an index, whatever the filter."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from record_kit import CPU, request
from sqlalchemy import event, func, select, update

from benchmarks.big_record import COMMON, RARE, RARITY, WAITING, BigRecord, fill
from fmx_store import artifacts, claims, jobs, metrics, models
from fmx_store.database import Database
from fmx_store.overviews import read_overviews, read_versions
from fmx_store.pages import encode_cursor
from fmx_store.settings import Settings
from fmx_store.states import State
from fmx_store.tables import Job, JobTag, Metric, Model, Run, table_of
from fmx_store.viewers import Record, View, Viewer

NUM_JOBS = 2 * RARITY
NUM_METRICS = 20_000


@pytest.fixture
def big(db: Database) -> BigRecord:
    """The oldest job of a record of many."""
    return fill(db, NUM_JOBS, NUM_METRICS)


def told_to(db: Database, do: Callable[[], Any]) -> list[tuple[str, Any]]:
    """The queries that it takes, with their parameters."""
    told: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            told.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        do()
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    return told


def steps_of(db: Database, statement: str, parameters: Any) -> list[str]:
    """How SQLite would go about a query."""
    with db.look() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    return [row[-1] for row in rows]


def test_sqlite_goes_by_an_index_for_what_is_asked_often(
    sqlite_template: Path, tmp_path: Path
) -> None:
    """PostgreSQL plans by statistics, and reads small tables whole."""
    shutil.copyfile(sqlite_template, tmp_path / "fmx.sqlite3")
    db = Database(Settings(data_dir=tmp_path).database)
    big = fill(db, NUM_JOBS, NUM_METRICS)
    middle = encode_cursor(str(NUM_JOBS // 2).zfill(len(big.job_id)))
    newest = jobs.list_jobs(db, limit=1).items[0]
    asked: dict[str, Callable[[], object]] = {
        "version": lambda: read_versions(db, [big.job_id]),
        "overview": lambda: read_overviews(db, [big.job_id]),
        "list": lambda: jobs.list_jobs(db),
        "list from the middle": lambda: jobs.list_jobs(db, cursor=middle),
        "list of a state": lambda: jobs.list_jobs(db, state=State.QUEUED),
        "list of a kind and state": lambda: jobs.list_jobs(db, kind="q1", state=State.SUCCEEDED),
        "list of a tag": lambda: jobs.list_jobs(db, tag=COMMON, cursor=middle),
        "list of a tag and state": lambda: jobs.list_jobs(db, tag=RARE, state=State.FAILED),
        "runs": lambda: jobs.page_runs(db, big.job_id, limit=50),
        "run": lambda: jobs.require_run(db, big.run_id),
        "metrics": lambda: metrics.read_rows(db, big.run_id),
        "artifacts": lambda: artifacts.page_artifacts(db, big.job_id, limit=50),
        "models": lambda: models.list_models(db),
        "active": lambda: claims.active(db),
        "claim": lambda: claims.claim(db, "w", CPU),
        "cancel": lambda: jobs.cancel(db, newest.id),
    }
    for name, do in asked.items():
        queries = told_to(db, do)
        assert queries
        for statement, parameters in queries:
            for step in steps_of(db, statement, parameters):
                is_whole = step.startswith("SCAN ") and "USING" not in step
                assert not is_whole or "SCAN CONSTANT" in step or "subquery" in step, (name, step)
    db.close()


def test_lists_of_one_owner_go_by_an_index(sqlite_template: Path, tmp_path: Path) -> None:
    """Whatever the filter, of however many jobs the others have."""
    shutil.copyfile(sqlite_template, tmp_path / "fmx.sqlite3")
    db = Database(Settings(data_dir=tmp_path).database)
    big = fill(db, NUM_JOBS, NUM_METRICS)
    give_out(db, "ada", "bob")
    ada = View(db, Viewer("ada", sees_all=False))
    middle = encode_cursor(str(NUM_JOBS // 2).zfill(len(big.job_id)))
    asked: dict[str, tuple[Callable[[], object], str]] = {
        "list": (lambda: jobs.list_jobs(ada), "ix_job_owner_id"),
        "next page": (lambda: jobs.list_jobs(ada, cursor=middle), "ix_job_owner_id"),
        "kind": (lambda: jobs.list_jobs(ada, kind="q1"), "ix_job_owner_kind_id"),
        "state": (lambda: jobs.list_jobs(ada, state=State.QUEUED), "ix_job_owner_state_id"),
        "kind and state": (
            lambda: jobs.list_jobs(ada, kind="q1", state=State.QUEUED),
            "ix_job_owner_kind_state_id",
        ),
        "tag": (lambda: jobs.list_jobs(ada, tag=COMMON, cursor=middle), "ix_job_tag_owner"),
        "models": (lambda: models.list_models(ada), "ix_model_owner_id"),
    }
    for name, (do, index) in asked.items():
        statement, parameters = told_to(db, do)[0]
        steps = steps_of(db, statement, parameters)
        assert any(index in step for step in steps), (name, steps)
        assert not any("TEMP B-TREE" in step for step in steps), (name, steps)
    db.close()


def give_out(db: Database, *owners: str) -> None:
    """Gives the jobs to owners in turn, and their models with them."""
    with db.write() as session:
        connection = session.connection()
        for number, owner in enumerate(owners):
            ids = [str(n).zfill(26) for n in range(1 + number, NUM_JOBS + 1, len(owners))]
            for chunk in (ids[i : i + 500] for i in range(0, len(ids), 500)):
                for of in (table_of(Job).c.id, table_of(JobTag).c.job_id, table_of(Model).c.job_id):
                    connection.execute(update(of.table).where(of.in_(chunk)).values(owner=owner))


def test_owners_share_a_big_record(db: Database, big: BigRecord) -> None:
    del big
    give_out(db, "ada", "bob")
    ada = View(db, Viewer("ada", sees_all=False))
    odd = [str(n).zfill(26) for n in range(NUM_JOBS - 1, 0, -2)]
    assert list_all(ada) == odd == list_all(ada, tag=COMMON) == list_all(ada, kind="q1")
    queued = list_all(db, state=State.QUEUED)
    assert list_all(ada, state=State.QUEUED) == [i for i in queued if i in set(odd)]
    assert list_all(View(db, Viewer("cyd", sees_all=False))) == []
    assert list_all(View(db, Viewer(None, sees_all=False))) == [], "a stranger is no owner"
    assert list_all(View(db, Viewer("root", sees_all=True))) == list_all(db)


def test_lists_of_a_big_record_are_right(db: Database, big: BigRecord) -> None:
    """Each filter, page by page, against the rows themselves."""
    with db.look() as connection:
        rows = connection.execute(table_of(Job).select()).all()
    by_state = {
        state: sorted((row.id for row in rows if row.state is state), reverse=True)
        for state in (State.QUEUED, State.SUCCEEDED)
    }
    everything = sorted((row.id for row in rows), reverse=True)
    assert len(by_state[State.SUCCEEDED]) == NUM_JOBS - NUM_JOBS // WAITING
    assert list_all(db) == list_all(db, tag=COMMON) == everything
    assert list_all(db, state=State.QUEUED) == by_state[State.QUEUED]
    assert list_all(db, state=State.QUEUED, tag=COMMON) == by_state[State.QUEUED]
    rare = [str(n).zfill(len(big.job_id)) for n in range(NUM_JOBS, 0, -RARITY)]
    assert list_all(db, tag=RARE) == rare == list_all(db, kind="q1", tag=RARE)
    assert list_all(db, tag="none") == list_all(db, kind="q2", tag=COMMON) == []


def list_all(db: Record, **filters: Any) -> list[str]:
    """The ids of all jobs that match, page by page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = jobs.list_jobs(db, limit=200, cursor=cursor, **filters)
        found += [item.id for item in page.items]
        if (cursor := page.next_cursor) is None:
            return found


def test_the_big_record_is_what_it_is_measured_as(db: Database, big: BigRecord) -> None:
    with db.look() as connection:
        num_jobs, num_runs, num_metrics, num_models = (
            connection.execute(select(func.count()).select_from(table_of(table))).scalar_one()
            for table in (Job, Run, Metric, Model)
        )
    assert num_jobs == NUM_JOBS + 1
    assert num_runs == 2 * num_jobs
    assert 0.9 < num_metrics / NUM_METRICS <= 1
    assert num_models == NUM_JOBS - NUM_JOBS // WAITING
    rows = metrics.read_rows(db, big.run_id)
    assert [row[0] for row in rows] == list(range(1, 10_001))
    claimed = claims.claim(db, "w", CPU)
    assert claimed is not None
    assert claimed.job.id < jobs.submit(db, request(), 10).job.id
