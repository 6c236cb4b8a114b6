"""Collection never takes what is referenced: in a storm, and where its own process was frozen."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from record_kit import add_all, claim, submit
from services import ROOT
from sqlmodel import SQLModel, select

from fmx_store import artifacts, claims
from fmx_store.blobs import FolderStore, digest, open_store
from fmx_store.claims import Success
from fmx_store.database import Database
from fmx_store.fsck import check
from fmx_store.settings import Settings
from fmx_store.tables import Blob

STORM_SECONDS = 2.5
STORM = Path(__file__).with_name("storm.py")


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_storm_leaves_nothing_missing_and_nothing_behind(
    db: Database, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Two processes of five threads each, on the same record and store."""
    storage: dict[str, str] = request.getfixturevalue("s3_storage") if kind == "s3" else {}
    values = {name.removeprefix("FMX_").lower(): value for name, value in storage.items()}
    store = open_store(Settings.model_validate({"data_dir": tmp_path, **values}))
    paths = os.pathsep.join([str(ROOT), str(STORM.parent)])
    environment = {**os.environ, **storage, "PYTHONPATH": paths}
    command = [sys.executable, str(STORM), db.url, str(tmp_path), str(STORM_SECONDS)]
    storms = [
        subprocess.Popen(
            [*command, str(seed)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for seed in (1, 2)
    ]
    said = [storm.communicate(timeout=120)[0].decode() for storm in storms]
    assert [storm.returncode for storm in storms] == [0, 0], said
    report = check(db, store, deep=True, min_age_seconds=0)
    assert {finding.code for finding in report.findings} <= {"unused"}, report.findings
    assert check(db, store, deep=True, fix=True, min_age_seconds=0).remaining == []
    assert check(db, store, deep=True, min_age_seconds=0).findings == []


def test_every_table_that_names_a_blob_keeps_it() -> None:
    """By a foreign key: only by it the database makes who names a blob wait for who collects it."""
    by_name = {
        column
        for table in SQLModel.metadata.sorted_tables
        for column in table.columns
        if column.name == "sha256" and table.name != "blob"
    }
    assert by_name == set(artifacts.BLOB_REFERENCES)


class Frozen(FolderStore):
    """A store whose process is frozen for a while after the first file that it deletes."""

    def delete(self, sha256: str) -> None:
        super().delete(sha256)
        time.sleep(0.3)


def test_a_collector_that_was_frozen_deletes_nothing_more(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locks may be gone: what it would delete now may be another's."""
    monkeypatch.setattr(artifacts, "HOLD_SECONDS", 0.2)
    store = Frozen(tmp_path / "blobs")
    digests: list[str] = []
    for number in range(3):
        source = tmp_path / str(number)
        source.write_text(str(number))
        digests.append(digest(source)[0])
        store.put(source, digests[-1])
    add_all(db, [Blob(sha256=sha256, size_bytes=1) for sha256 in digests])
    assert artifacts.collect(db, store, digests) == 1
    with db.read() as session:
        left = set(session.exec(select(Blob.sha256)))
    assert left == set(store.digests())
    assert len(left) == 2


def test_what_an_outage_kept_from_being_collected_is_collected_later(
    db: Database, tmp_path: Path
) -> None:
    """A store that fails after some deletions leaves rows without bytes, which a put fills."""
    store = FolderStore(tmp_path / "blobs")
    source = tmp_path / "source"
    source.write_text("wanted again")
    sha256, size_bytes = digest(source)
    add_all(db, [Blob(sha256=sha256, size_bytes=size_bytes)])
    submit(db)
    lease = claim(db).lease
    staged = artifacts.stage(db, store, lease, {"r/a": source})
    claims.finish(db, lease, Success(files=staged))
    with store.open(sha256) as file:
        assert file.read() == source.read_bytes()
    assert check(db, store, deep=True, min_age_seconds=0).findings == []
