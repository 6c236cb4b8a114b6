"""The revisions: up, down and up again, with rows, at once, and equal to the code's tables."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from services import ROOT
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, text
from sqlalchemy.engine.interfaces import ReflectedIndex
from sqlmodel import SQLModel

from fmx_ml.requests import parse_request
from fmx_store import jobs
from fmx_store.database import Database
from fmx_store.overviews import read_overviews
from fmx_store.revision import (
    EARLIER_REVISIONS,
    EXPECTED_REVISION,
    VERSION_TABLE,
    get_revision,
    is_behind,
)
from fmx_store.settings import Settings
from migrations import commands
from migrations.__main__ import main

FIRST_REVISION = "2026_11_23_first_record"
TABLES = {*SQLModel.metadata.tables, VERSION_TABLE}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it."""
    if request.param == "postgresql":
        return Settings(database_url=request.getfixturevalue("empty_postgres_url")).database
    return Settings(data_dir=tmp_path / "data").database


@pytest.fixture
def engine(url: str) -> Generator[Engine]:
    """A way to look at the database, and to spoil it."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(exist_ok=True)
    made = create_engine(url, poolclass=NullPool)
    yield made
    made.dispose()


def shape_of(engine: Engine) -> dict[str, object]:
    """Columns, keys and indexes of each table."""
    found = inspect(engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
            found.get_pk_constraint(table),
            sorted(found.get_foreign_keys(table), key=lambda key: key["name"] or ""),
            sorted(map(plain, found.get_indexes(table)), key=lambda index: index["name"] or ""),
            sorted(found.get_unique_constraints(table), key=lambda key: key["name"] or ""),
        )
        for table in found.get_table_names()
    }


def plain(index: ReflectedIndex) -> dict[str, Any]:
    """An index with the condition of its rows as text, which can be compared."""
    options = index.get("dialect_options", {})
    return {**index, "dialect_options": {name: str(value) for name, value in options.items()}}


def submit(url: str) -> str:
    db = Database(url)
    job_id = jobs.submit(db, parse_request({"kind": "q1", "tags": ["kept"]}), 10).job.id
    db.close()
    return job_id


def test_up_down_and_up_again(url: str, engine: Engine) -> None:
    assert commands.upgrade(url) == EXPECTED_REVISION
    first = shape_of(engine)
    assert set(first) == TABLES
    submit(url)
    assert commands.downgrade(url, "base") is None
    assert set(shape_of(engine)) == {VERSION_TABLE}
    assert commands.upgrade(url) == EXPECTED_REVISION
    assert shape_of(engine) == first
    submit(url)


def test_rows_outlive_the_way_to_the_first_revision_and_back(url: str) -> None:
    commands.upgrade(url)
    job_id = submit(url)
    assert commands.downgrade(url, FIRST_REVISION) == FIRST_REVISION
    assert commands.upgrade(url) == EXPECTED_REVISION
    db = Database(url)
    training, collation = jobs.list_runs(db, job_id)
    assert (training.name, training.pack_key) == ("seed-0", None), "it trains alone"
    assert collation.waiting_for == 1
    db.close()


def test_keys_of_requests_outlive_owners_and_their_going(url: str) -> None:
    """What was submitted before there were owners has none; what has one goes on the way back."""
    commands.upgrade(url, "2026_11_26_pack_keys")
    engine = create_engine(url, poolclass=NullPool)
    columns = "key, request_hash, job_id, created_at"
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO idempotency ({columns}) "  # noqa: S608 - our own names
                "VALUES ('k', 'h', '01KB0000000000000000000000', '2026-11-26 12:00:00+00:00')"
            )
        )
    commands.upgrade(url)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT owner, key FROM idempotency")).all() == [("", "k")]
        connection.execute(
            text(
                f"INSERT INTO idempotency (owner, {columns}) "  # noqa: S608 - our own names
                f"SELECT 'ada', {columns} FROM idempotency"
            )
        )
    commands.downgrade(url, "2026_11_26_pack_keys")
    with engine.begin() as connection:
        assert connection.execute(text("SELECT key FROM idempotency")).all() == [("k",)]
    commands.upgrade(url)
    commands.check(url)
    engine.dispose()


def test_models_outlive_their_aliases_and_jobs_their_traces(url: str) -> None:
    """On the way back what older code does not know goes, and nothing else."""
    commands.upgrade(url)
    job_id = submit(url)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE job SET traceparent = '00-1-2-01'"))
        connection.execute(
            text(
                "INSERT INTO model (id, run_id, job_id, kind, run_name, dataset, created_at) "
                "SELECT 'm', id, job_id, 'q1', name, 'synthetic', created_at FROM run "
                "WHERE position = 0"
            )
        )
        connection.execute(
            text(
                "INSERT INTO model_alias (name, owner, model_id, updated_at) "
                "SELECT 'production', '', id, created_at FROM model"
            )
        )
    commands.downgrade(url, "2026_11_26_checkpoints")
    with engine.begin() as connection:
        assert connection.execute(text("SELECT id FROM model")).all() == [("m",)]
        assert connection.execute(text("SELECT id FROM job")).all() == [(job_id,)]
    commands.upgrade(url)
    commands.check(url)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT * FROM model_alias")).all() == []
    engine.dispose()


def test_an_upgrade_of_a_new_database_changes_no_row(url: str) -> None:
    commands.upgrade(url)
    job_id = submit(url)
    assert commands.upgrade(url) == EXPECTED_REVISION
    db = Database(url)
    assert jobs.require_job(db, job_id).kind == "q1"
    assert read_overviews(db, [job_id])[job_id].tags == ["kept"]
    db.close()


def test_the_revisions_make_what_the_tables_say(url: str, engine: Engine) -> None:
    """Alembic finds no difference, and a database made without it looks the same."""
    commands.upgrade(url)
    commands.check(url)
    migrated = shape_of(engine)
    commands.downgrade(url, "base")
    SQLModel.metadata.create_all(engine)
    assert shape_of(engine) == migrated


def test_the_code_expects_the_newest_revision() -> None:
    script = ScriptDirectory.from_config(commands.make_config())
    assert script.get_heads() == [EXPECTED_REVISION]
    revisions = list(script.walk_revisions())
    assert {revision.revision for revision in revisions[1:]} == EARLIER_REVISIONS
    assert all(map(is_behind, (None, *EARLIER_REVISIONS)))
    assert not any(map(is_behind, (EXPECTED_REVISION, "of_a_later_release")))
    for revision in revisions:
        assert Path(revision.path).stem == revision.revision
        assert len(revision.revision) <= commands.MAX_REVISION


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX ix_run_due",
        "DROP TABLE run_need",
        "ALTER TABLE job ADD COLUMN surplus INTEGER",
        "ALTER TABLE run DROP COLUMN beat",
        "CREATE INDEX surplus ON job (priority)",
    ],
)
def test_a_difference_is_found(url: str, engine: Engine, statement: str) -> None:
    commands.upgrade(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        commands.check(url)


def test_every_constraint_has_the_name_that_the_convention_gives(engine: Engine, url: str) -> None:
    commands.upgrade(url)
    found = inspect(engine)
    for table in SQLModel.metadata.tables:
        assert found.get_pk_constraint(table)["name"] == f"pk_{table}"
        for key in found.get_foreign_keys(table):
            column = key["constrained_columns"][0]
            assert key["name"] == f"fk_{table}_{column}_{key['referred_table']}"


def test_many_upgrades_at_once_do_it_once(url: str) -> None:
    """As containers do that start together."""
    command = [sys.executable, "-m", "migrations", "upgrade"]
    variable = {"FMX_DATABASE_URL": url}
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variable},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    told = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, told
    assert told == [f"the database is at {EXPECTED_REVISION}\n"] * 3
    commands.check(url)


def test_threads_that_go_up_and_down_take_turns(url: str) -> None:
    def swing(number: int) -> str | None:
        if number % 2:
            return commands.upgrade(url)
        return commands.downgrade(url, "base")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(swing, range(8))) == [None, EXPECTED_REVISION] * 4
    commands.upgrade(url)
    commands.check(url)


def test_an_upgrade_that_fails_half_way_changes_nothing(url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE run_need (mine INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        commands.upgrade(url)
    assert set(inspect(engine).get_table_names()) == {"run_need"}
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE run_need"))
    assert commands.upgrade(url) == EXPECTED_REVISION


def test_sqlite_refuses_a_migration_that_breaks_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/a.sqlite3"
    commands.upgrade(url)
    submit(url)

    def spoil(config: object, revision: str) -> None:
        del revision
        connection: Connection = config.attributes["connection"]  # pyright: ignore[reportAttributeAccessIssue] - Alembic's configuration
        connection.execute(text("DELETE FROM job"))

    monkeypatch.setattr(commands.command, "upgrade", spoil)
    with pytest.raises(RuntimeError, match="refers to nothing"):
        commands.upgrade(url)
    db = Database(url)
    assert len(jobs.list_jobs(db).items) == 1
    db.close()


Tell = Callable[..., tuple[int, str]]


@pytest.fixture
def tell(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Runs the command; answers its exit status and what it printed."""
    monkeypatch.setattr("migrations.__main__.get_settings", lambda: Settings(database_url=url))

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(arguments)
        printed = capsys.readouterr()
        return status, (printed.err if status else printed.out).strip()

    return run


def test_the_commands_say_what_they_did(tell: Tell, url: str) -> None:
    expected = f"(this code expects {EXPECTED_REVISION})"
    assert tell("current") == (0, f"base {expected}")
    status, said = tell("check")
    assert (status, said) == (1, "check failed: Target database is not up to date.")
    assert tell("upgrade") == (0, f"the database is at {EXPECTED_REVISION}")
    assert tell("current") == (0, f"{EXPECTED_REVISION} {expected}")
    assert tell("check") == (0, "the database is as the code's tables say")
    assert tell("downgrade", "base") == (0, "the database is at base")
    assert tell("upgrade", EXPECTED_REVISION)[0] == 0
    status, said = tell("upgrade", "nowhere")
    assert status == 1
    assert "nowhere" in said
    db = Database(url)
    assert get_revision(db) == EXPECTED_REVISION
    db.close()


def test_a_database_of_a_newer_version_is_left_alone(tell: Tell, engine: Engine) -> None:
    tell("upgrade")
    with engine.begin() as connection:
        future = f"UPDATE {VERSION_TABLE} SET version_num = 'from_the_future'"  # noqa: S608 - ours
        connection.execute(text(future))
    for command in (("upgrade",), ("check",), ("downgrade", "base")):
        status, said = tell(*command)
        assert status == 1
        assert "from_the_future" in said
    assert set(inspect(engine).get_table_names()) == TABLES


@pytest.mark.parametrize("arguments", [[], ["sideways"], ["downgrade"], ["new"]])
def test_wrong_usage_is_told(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_database_that_is_away_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(database_url="postgresql://u:secret@127.0.0.1:1/x")
    monkeypatch.setattr("migrations.__main__.get_settings", lambda: settings)
    assert main(["upgrade"]) == 1
    said = capsys.readouterr().err
    assert "refused" in said
    assert "secret" not in said


def test_a_new_revision_is_written_for_what_has_changed(
    tell: Tell, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the revisions gets one more, which leads to the code's tables and back."""
    tell("upgrade")
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_model_job"))
        connection.execute(text("ALTER TABLE run DROP COLUMN beat"))
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    original = ROOT / "migrations"
    for path in (original / "env.py", original / "script.py.mako", *original.glob("versions/*.py")):
        (folder / path.relative_to(original)).write_bytes(path.read_bytes())
    monkeypatch.setattr(commands, "_FOLDER", folder)
    status, written = tell("new", "add_beat")
    assert status == 0
    path = Path(written)
    assert path.stem.endswith("_add_beat")
    assert path.parent == folder / "versions"
    assert 'sa.Column("beat"' in path.read_text().replace("'", '"')
    assert tell("upgrade") == (0, f"the database is at {path.stem}")
    assert tell("check")[0] == 0
    assert tell("downgrade", EXPECTED_REVISION) == (0, f"the database is at {EXPECTED_REVISION}")
    assert "beat" not in {column["name"] for column in inspect(engine).get_columns("run")}
    assert tell("new", "a_name_that_is_much_too_long") == (
        1,
        f"new failed: '{path.stem[:10]}_a_name_that_is_much_too_long' is longer than 32 characters",
    )
