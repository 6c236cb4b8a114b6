"""A backup that is taken while jobs run, as docs/operations.md says, and a server made of it."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import Column, find_binary, migrate
from stack import job_of, serve, submit, wait_for_end, wait_until

END_SECONDS = 400  # of a job, on a machine that does much else
QUICK = {"worker_device": "cpu", "lease_seconds": 5, "max_crashes": 50}
SMALL = {"dataset": "synthetic", "batch_size": 1000}

Restore = Callable[[], Column]


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def postgres_program(name: str) -> Path:
    return find_binary(name, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


def back_up(column: Column, folder: Path) -> None:
    """The record first, then the files: what it names is stored by then, and stays."""
    folder.mkdir()
    url = column.environment.get("FMX_DATABASE_URL")
    if url:
        run(postgres_program("pg_dump"), "--format=custom", f"--file={folder}/record.dump", url)
    else:
        backup = f".backup '{folder}/fmx.sqlite3'"
        run(find_binary("sqlite3"), column.data_dir / "fmx.sqlite3", backup)
    shutil.copytree(column.data_dir / "blobs", folder / "blobs")


def restore(folder: Path, data_dir: Path, environment: dict[str, str]) -> Column:
    """The files first, then the record, elsewhere; the messages of the broker are not needed."""
    data_dir.mkdir()
    shutil.copytree(folder / "blobs", data_dir / "blobs")
    url = environment.get("FMX_DATABASE_URL")
    if url:
        dump = folder / "record.dump"
        run(postgres_program("pg_restore"), "--exit-on-error", f"--dbname={url}", dump)
    else:
        shutil.copy(folder / "fmx.sqlite3", data_dir)
    return Column("restored", {**environment, "FMX_DATA_DIR": str(data_dir)})


def assert_whole(column: Column) -> None:
    """Record and files agree, and each file is what its name says."""
    done = subprocess.run(
        [sys.executable, "-m", "fmx_store.admin", "fsck", "--deep"],
        env={**os.environ, **column.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sums_of(client: httpx.Client, job_id: str) -> dict[str, str]:
    """The checksum of each file of a job, taken of the bytes that come."""
    items = client.get(f"/v1/jobs/{job_id}/artifacts").raise_for_status().json()["items"]
    path = f"/v1/jobs/{job_id}/artifacts"
    sums = {i["path"]: client.get(f"{path}/{i['path']}").raise_for_status() for i in items}
    found = {name: hashlib.sha256(answer.content).hexdigest() for name, answer in sums.items()}
    assert found == {item["path"]: item["sha256"] for item in items}
    return found


def predictions_of(client: httpx.Client, job_id: str) -> Any:
    (model,) = job_of(client, job_id)["models"]
    answer = client.post(f"/v1/models/{model}/predict", json={"test_rows": [0, 1, 2]})
    return answer.raise_for_status().json()


@pytest.fixture
def elsewhere(column: Column, request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of a server that shares nothing with the column's."""
    if column.name == "embedded":
        return {}
    url = request.getfixturevalue("empty_postgres_url")
    return {"FMX_DATABASE_URL": url, "FMX_BROKER_URL": column.environment["FMX_BROKER_URL"]}


@pytest.mark.timeout(900)
def test_a_backup_taken_while_jobs_run_is_whole(
    column: Column, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    with serve(column, **QUICK) as (process, client):
        kept = submit(client, spec={**SMALL, "max_epochs": 1})
        assert wait_for_end(client, kept, END_SECONDS)["state"] == "succeeded"
        moving = submit(client, spec={**SMALL, "max_epochs": 40})
        waiting = submit(client, spec={**SMALL, "max_epochs": 1, "seeds": [1]})
        wait_until(lambda: job_of(client, moving)["progress"]["completed"] > 0, 60)
        back_up(column, tmp_path / "backup")
        assert job_of(client, moving)["state"] == "running", "it was taken in the middle"
        sums, predictions = sums_of(client, kept), predictions_of(client, kept)
        results = client.get(f"/v1/jobs/{kept}/results").json()
        assert process.stop() == 0

    restored = restore(tmp_path / "backup", tmp_path / "restored", elsewhere)
    migrate(elsewhere.get("FMX_DATABASE_URL", ""), restored.data_dir)
    assert_whole(restored)
    with serve(restored, **QUICK) as (_, client):
        assert sums_of(client, kept) == sums
        assert predictions_of(client, kept) == predictions
        assert client.get(f"/v1/jobs/{kept}/results").json() == results
        assert wait_for_end(client, moving, END_SECONDS)["state"] == "succeeded"
        assert wait_for_end(client, waiting, END_SECONDS)["state"] == "succeeded"
        (again,) = client.get(f"/v1/jobs/{moving}/runs").json()["items"]
        assert again["attempt"] >= 2, "taken from a worker that this record has never had"
    assert_whole(restored)
