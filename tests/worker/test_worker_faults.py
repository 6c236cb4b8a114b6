"""Runs whose disk is full, and runs whose database is away."""

import errno
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from services import Column
from stages import Stage
from workers import open_record, processes_of

from fmx_store.blobs import FolderStore
from fmx_store.models import list_models
from fmx_store.states import Reason, State
from worker.supervisor import supervise


class FullStore(FolderStore):
    """A store without room, but for as many files as it is told."""

    def __init__(self, folder: Path, room: int) -> None:
        super().__init__(folder)
        self.room = room

    def put(self, source: Path, sha256: str) -> None:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        super().put(source, sha256)


@pytest.mark.parametrize("room", [0, 1])
def test_a_full_store_fails_one_run(stage: Stage, room: int, tmp_path: Path) -> None:
    stage.context = replace(stage.context, blobs=FullStore(tmp_path / "full", room))
    run = stage.play("works")
    assert (run.state, run.reason) == (State.FAILED, Reason.DISK_FULL)
    assert run.error is not None
    assert "No space left" in run.error["message"]
    assert list_models(stage.record.db).items == []


def test_a_full_disk_under_the_scratch_folder_fails_one_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    claim = stage.claim()
    monkeypatch.setattr(Path, "mkdir", refuse)
    supervise(stage.context, [claim], stage.trainers(sys.executable, "-c", ""))
    run = stage.run_of(claim)
    assert (run.state, run.reason) == (State.FAILED, Reason.DISK_FULL)


@pytest.mark.services
def test_a_database_that_is_away_for_a_while_leaves_no_gap(engines_column: Column) -> None:
    with open_record(engines_column, lease_seconds=60) as record:
        stage = Stage(record)
        claim = stage.claim()
        with stage.playing("beats_slowly", claim), cut_off(engines_column):
            time.sleep(2)
        run = stage.run_of(claim)
        assert (run.state, run.attempt, run.crashes) == (State.SUCCEEDED, 1, 0)
        assert stage.epochs(run) == list(range(1, 41))


@pytest.mark.services
def test_a_run_that_ends_while_the_database_is_away_is_finished(engines_column: Column) -> None:
    with open_record(engines_column, lease_seconds=60) as record:
        stage = Stage(record)
        claim = stage.claim()
        with stage.playing("beats_briefly", claim), cut_off(engines_column):
            time.sleep(2)
            assert processes_of(record.column.data_dir) == []
        run = stage.run_of(claim)
        assert (run.state, run.attempt, run.crashes) == (State.SUCCEEDED, 1, 0)
        assert stage.epochs(run) == list(range(1, 11))
        assert run.summary == {"test_accuracy": 0.5}


@pytest.mark.services
def test_a_worker_that_stops_while_the_database_is_away_does_not_wait(
    engines_column: Column,
) -> None:
    with open_record(engines_column, lease_seconds=60) as record:
        stage = Stage(record)
        claim = stage.claim()
        with ExitStack() as stack:
            playing = stage.playing("stops_on_sigterm", claim)
            playing.__enter__()
            stack.enter_context(cut_off(engines_column))
            stage.stopping.set()
            began = time.monotonic()
            playing.__exit__(None, None, None)
            assert time.monotonic() - began < 5
        run = stage.run_of(claim)
        assert (run.state, run.attempt) == (State.RUNNING, 1), "its lease will run out"


@contextmanager
def cut_off(column: Column) -> Generator[None]:
    """Ends every connection to the column's database, and lets none in meanwhile."""
    server, _, name = column.environment["FMX_DATABASE_URL"].rpartition("/")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name))
        )
        admin.execute(end, [name])
        try:
            yield
        finally:
            admin.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))
            )
