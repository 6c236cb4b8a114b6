"""`fmx admin doctor`: everything that a machine needs is broken once, and must be named."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty_s3 import FaultyStore
from record_kit import claim, submit
from services import ROOT, Column, free_port

from fmx_store import claims
from fmx_store.admin.checks import CHECKS, examine, look_at_variables
from fmx_store.admin.findings import Finding, run
from fmx_store.claims import Lease
from fmx_store.database import Database
from fmx_store.settings import Settings
from migrations import commands

HUGE_BYTES = 10**18


def look(name: str, settings: Settings) -> Finding:
    """What one check finds."""
    (check,) = [check for check in CHECKS if check.name == name]
    return run(check, settings)


def assert_cured(finding: Finding, level: str, says: str, cure: str) -> None:
    """A finding is bad, says why, and says what helps."""
    assert finding.level == level, finding
    assert says in finding.says
    assert finding.cure is not None
    assert cure in finding.cure


def ask(column: Column, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`fmx admin doctor`, as a process."""
    return subprocess.run(
        [sys.executable, "-m", "fmx_store.admin", "doctor", *options],
        cwd=ROOT,
        env={**column.process_environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_that_is_well(column: Column) -> None:
    done = ask(column, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["is_well"] is True
    names = ["variables", "settings", *(check.name for check in CHECKS)]
    assert [check["name"] for check in said["checks"]] == names
    bad = [c for c in said["checks"] if c["level"] != "ok" and c["name"] not in {"data", "kernel"}]
    assert not bad


def test_what_is_wrong_is_said_as_text_with_status_1(embedded_column: Column) -> None:
    done = ask(embedded_column, FMX_WORKER_THREDS="2", FMX_PORT="many")
    assert done.returncode == 1
    assert "FMX_WORKER_THREDS" in done.stdout
    assert "-> FMX_WORKER_THREDS: FMX_WORKER_THREADS is meant?" in done.stdout
    assert "FMX_PORT: Input should be a valid integer" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("FMX_WORKER_THREDS", "FMX_WORKER_THREADS is meant?"),
        ("FMX_API_KAY", "FMX_API_KEY is meant?"),
        ("fmx_databse_url", "FMX_DATABASE_URL is meant?"),
        ("FMX_QQQQQQQQ", "unset it"),
    ],
)
def test_a_variable_that_nothing_reads(name: str, cure: str) -> None:
    assert_cured(look_at_variables({name: "1", "FMX_PORT": "1"}), "failed", name, cure)


def test_values_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMX_PORT", "99999")
    monkeypatch.setenv("FMX_BROKER_URL", "amqp://a:secret@b")
    findings = examine(os.environ)
    said = [finding.says for finding in findings if finding.level == "failed"]
    assert [text.partition(":")[0] for text in said] == ["FMX_PORT", "FMX_BROKER_URL"]
    assert "secret" not in "".join(said)
    assert all(finding.cure for finding in findings if finding.level == "failed")


def test_values_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMX_LEASE_SECONDS", "1")
    (bad,) = [finding for finding in examine(os.environ) if finding.level == "failed"]
    assert_cured(bad, "failed", "lease_seconds must be twice heartbeat_seconds", "correct it")


def test_a_data_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_dir=tmp_path / "file" / "below")
    assert_cured(look("data folder", settings), "failed", "Not a directory", "FMX_DATA_DIR")


def test_a_disk_without_room(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, min_free_bytes=HUGE_BYTES)
    assert_cured(look("data folder", settings), "failed", "MB are free where", "make room")


def test_a_record_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new")
    assert_cured(look("database", settings), "warning", "no record", "migrations upgrade")
    assert not (tmp_path / "new").exists()


def test_a_record_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "fmx.sqlite3").write_bytes(b"no database at all" * 100)
    found = look("database", Settings(data_dir=tmp_path))
    assert_cured(found, "failed", "not a database", "FMX_DATABASE_URL")


def test_a_database_that_is_away() -> None:
    settings = Settings(database_url=f"postgresql://u:secret@127.0.0.1:{free_port()}/fmx")
    found = look("database", settings)
    assert_cured(found, "failed", "onnection", "FMX_DATABASE_URL")
    assert "secret" not in found.says


def test_a_database_without_tables(tmp_path: Path) -> None:
    (tmp_path / "fmx.sqlite3").touch()
    settings = Settings(data_dir=tmp_path)
    assert_cured(look("tables", settings), "failed", "no tables yet", "migrations upgrade")


def test_tables_of_an_older_release(column: Column) -> None:
    commands.downgrade(column.settings().database, "2026_11_26_event_log")
    found = look("tables", column.settings())
    assert_cured(found, "failed", "2026_11_26_event_log", "migrations upgrade")


def test_a_broker_that_is_away(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=f"redis://:secret@127.0.0.1:{free_port()}/0")
    found = look("broker", settings)
    assert_cured(found, "failed", "refused", "FMX_BROKER_URL")
    assert "secret" not in found.says


def test_a_folder_of_messages_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "messages").touch()
    assert look("broker", Settings(data_dir=tmp_path)).level == "failed"


def test_a_storage_that_is_not_mounted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, storage_url=f"file://{tmp_path}/mount")
    assert_cured(look("storage", settings), "failed", "there is no folder", "mount it")


def test_a_bucket_that_takes_nothing(
    faulty_s3: FaultyStore, faulty_s3_storage: dict[str, str], embedded_column: Column
) -> None:
    settings = embedded_column.on(faulty_s3_storage).settings()
    assert look("storage", settings).level == "ok"
    faulty_s3.befall("full", method="PUT")
    assert_cured(look("storage", settings), "failed", "", "FMX_STORAGE_URL")


def test_a_bucket_that_is_not_there(s3_storage: dict[str, str], embedded_column: Column) -> None:
    elsewhere = {**s3_storage, "FMX_STORAGE_URL": "s3://there-is-no-such-bucket"}
    settings = embedded_column.on(elsewhere).settings()
    assert_cured(look("storage", settings), "failed", "", "FMX_STORAGE_URL")


def test_a_gpu_that_is_wanted_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = Settings(worker_device="cuda")
    assert_cured(look("torch", settings), "failed", "there is none", "FMX_WORKER_DEVICE=auto")


def test_a_torch_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so is damaged')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    assert_cured(look("torch", Settings()), "failed", "libtorch.so is damaged", "pip install")


@pytest.mark.parametrize("compiler", ["/there/is/no/compiler", "false"])
def test_a_compiler_that_does_not_compile(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert_cured(look("kernel", Settings()), "warning", compiler, "apt-get install g++")


def test_a_folder_of_pictures_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMX_DATASET_DIR", str(tmp_path))
    settings = Settings(data_dir=tmp_path, dataset_download=False)
    found = look("data", settings)
    assert found.level != "ok"
    assert found.cure is not None
    assert "FMX_DATASET_DIR" in found.cure


QUICK = {"heartbeat_seconds": 0.2, "lease_seconds": 5, "dispatch_seconds": 0.05}


@contextmanager
def beating(db: Database, lease: Lease) -> Generator[None]:
    """A worker that renews its lease."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            claims.beat(db, lease)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def record(column: Column) -> Generator[Database]:
    db = Database(column.settings().database)
    yield db
    db.close()


def test_a_worker_that_trains_and_one_that_is_silent(column: Column, record: Database) -> None:
    settings = column.settings(**QUICK)
    assert "no worker has begun one yet" in look("workers", settings).says
    submit(record)
    lease = claim(record, "host:1").lease
    with beating(record, lease):
        found = look("workers", settings)
    assert found.level == "ok", found
    assert "1 runs under way" in found.says
    assert "host:1 began one last" in found.says
    assert_cured(
        look("workers", settings), "failed", "1 of 1 runs under way stand still", "taken back"
    )


def test_runs_that_nobody_takes(column: Column, record: Database) -> None:
    submit(record, seeds=2)
    found = look("workers", column.settings(**QUICK))
    assert_cured(found, "failed", "2 runs wait", "python -m worker")


def test_what_follows_from_a_database_is_not_looked_at_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMX_DATA_DIR", str(tmp_path))
    named = {finding.name for finding in examine({})}
    assert "database" in named
    assert not named & {"tables", "workers"}
