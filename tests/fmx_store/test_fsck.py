"""fsck finds what is wrong with record and files, and removes what is garbage, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from record_kit import FAILED, add_all, check_record, claim, dump, epoch, submit
from services import ROOT, free_port
from sqlalchemy import create_engine, text

from fmx_store import artifacts, claims, fsck, jobs
from fmx_store.blobs import BlobStore, FolderStore, digest, open_store
from fmx_store.claims import Failure, Lease, Success
from fmx_store.database import Database
from fmx_store.fsck import Finding, Report
from fmx_store.settings import Settings
from fmx_store.tables import Blob

SHARED = "in both models"

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(frozen=True)
class Scene:
    """A record with jobs of every kind, and their files.

    Attributes:
        done: a job that has succeeded, with a model.
        failed: one that has failed, with a log.
        waiting: one that is queued, of two trainings.
        lease: of a run that is held, with a staged file.
    """

    db: Database
    store: BlobStore
    done: str
    failed: str
    waiting: str
    lease: Lease

    def check(self, **options: Any) -> Report:
        """fsck, with whatever age."""
        chosen: dict[str, Any] = {"min_age_seconds": 0, "deep": True, **options}
        return fsck.check(self.db, self.store, **chosen)

    def codes(self, **options: Any) -> set[str]:
        """The kinds of what it finds."""
        return {finding.code for finding in self.check(**options).findings}

    def digest_of(self, job_id: str, path: str) -> str:
        """The sha256 of an artifact."""
        return artifacts.require_artifact(self.db, job_id, path).sha256

    def names(self) -> dict[str, str]:
        """The ids that statements may name."""
        jobs_ = {"done": self.done, "failed": self.failed, "waiting": self.waiting}
        runs = {
            f"{name}_run": jobs.list_runs(self.db, job_id)[0].id for name, job_id in jobs_.items()
        }
        end = jobs.list_runs(self.db, self.waiting)[-1].id
        return {**jobs_, **runs, "waiting_end": end, "held": self.lease.run_id}

    def tamper(self, *statements: str) -> None:
        """Changes rows from outside, past every rule and foreign key."""
        engine = create_engine(self.db.url)
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SET session_replication_role = replica"))
            for statement in statements:
                assert connection.execute(text(statement)).rowcount > 0, statement
        engine.dispose()


@pytest.fixture
def store(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> BlobStore:
    """A folder beside SQLite, a bucket beside PostgreSQL."""
    is_bucket = database_url.startswith("postgresql")
    named: dict[str, str] = request.getfixturevalue("s3_storage") if is_bucket else {}
    values = {name.removeprefix("FMX_").lower(): value for name, value in named.items()}
    return open_store(Settings.model_validate({"data_dir": tmp_path / "data", **values}))


@pytest.fixture
def scene(db: Database, store: BlobStore, tmp_path: Path) -> Scene:
    """The record and the store, in order."""
    return make_scene(db, store, tmp_path)


@pytest.fixture(scope="module")
def original(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene on SQLite that is not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    shutil.copyfile(sqlite_template, folder / "fmx.sqlite3")
    settings = Settings(data_dir=folder)
    db = Database(settings.database)
    scene = make_scene(db, open_store(settings), folder)
    db.close()
    return scene


@pytest.fixture
def copied(original: Scene, tmp_path: Path) -> Generator[Scene]:
    """A copy of that scene."""
    assert isinstance(original.store, FolderStore)
    shutil.copytree(original.store.folder.parent, tmp_path / "copy")
    settings = Settings(data_dir=tmp_path / "copy")
    db = Database(settings.database)
    yield replace(original, db=db, store=open_store(settings))
    db.close()


def make_scene(db: Database, store: BlobStore, tmp_path: Path) -> Scene:
    """Plays what leads to it."""
    done = submit(db).id
    training = claim(db)
    name = training.run.name
    files = {f"{name}/model.onnx": "an export", f"{name}/log.txt": SHARED, f"{name}/a.csv": "1"}
    claims.record_progress(db, training.lease, [epoch(1), epoch(2)])
    staged = stage(db, store, training.lease, files, tmp_path)
    claims.finish(db, training.lease, Success(files=staged, model=True))
    collation = claim(db).lease
    staged = stage(db, store, collation, {"results.json": "{}", "shared.txt": SHARED}, tmp_path)
    claims.finish(db, collation, Success(files=staged, results={}))
    failed = submit(db).id
    lost = claim(db).lease
    staged = stage(db, store, lost, {"s/log.txt": "nan"}, tmp_path)
    claims.finish(db, lost, Failure(FAILED.reason, FAILED.code, FAILED.message, files=staged))
    submit(db)
    held = claim(db).lease
    stage(db, store, held, {"s/log.txt": "on its way"}, tmp_path)
    scene = Scene(db, store, done, failed, submit(db, seeds=2).id, held)
    assert scene.check().findings == []
    return scene


def stage(
    db: Database, store: BlobStore, lease: Lease, files: dict[str, str], folder: Path
) -> list[claims.StagedFile]:
    sources: dict[str, Path] = {}
    for number, (name, content) in enumerate(files.items()):
        sources[name] = folder / f"staged-{number}"
        sources[name].write_text(content)
    return artifacts.stage(db, store, lease, sources)


def overwrite(store: BlobStore, sha256: str, content: bytes) -> None:
    """Puts bytes where a blob lies, past the store."""
    if isinstance(store, FolderStore):
        path = store.folder / sha256[:2] / sha256
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    else:
        inside: Any = store
        inside._patient.put_object(**inside._object(sha256), Body=content)


def only(report: Report, code: str) -> Finding:
    """The one thing that a report has found."""
    [finding] = report.findings
    assert finding.code == code
    return finding


def test_a_record_in_order_is_clean(scene: Scene) -> None:
    report = scene.check()
    assert (report.num_jobs, report.num_known, report.num_stored) == (4, 6, 6)
    assert report.stored_bytes == sum(entry.size_bytes for entry in scene.store.entries())
    check_record(scene.db)


def test_a_missing_file_is_found_and_not_mended(scene: Scene) -> None:
    sha256 = scene.digest_of(scene.done, "shared.txt")
    scene.store.delete(sha256)
    before = dump(scene.db)
    finding = only(scene.check(fix=True), "missing")
    assert finding.subject == sha256
    assert f"artifact {scene.done}/shared.txt" in finding.detail
    assert "/log.txt" in finding.detail, "all that name it are told"
    assert dump(scene.db) == before
    assert not finding.is_garbage


def test_a_file_that_was_cut_off_is_found(scene: Scene) -> None:
    sha256 = scene.digest_of(scene.done, "shared.txt")
    overwrite(scene.store, sha256, SHARED[:-1].encode())
    finding = only(scene.check(deep=False, fix=True), "size")
    assert (finding.subject, finding.is_mended) == (sha256, False)


def test_a_flipped_byte_is_found_by_reading(scene: Scene) -> None:
    sha256 = scene.digest_of(scene.done, "shared.txt")
    overwrite(scene.store, sha256, b"i" + b"N" + SHARED[2:].encode())
    assert scene.check(deep=False).findings == []
    finding = only(scene.check(fix=True), "contents")
    assert (finding.subject, finding.is_mended) == (sha256, False)


def test_a_damaged_file_that_is_stored_again_is_mended(scene: Scene, tmp_path: Path) -> None:
    sha256 = scene.digest_of(scene.done, "shared.txt")
    overwrite(scene.store, sha256, b"half")
    stage(scene.db, scene.store, scene.lease, {"s/again.txt": SHARED}, tmp_path)
    assert scene.check().findings == []
    with scene.store.open(sha256) as file:
        assert file.read() == SHARED.encode()


def test_a_staged_file_that_is_not_stored_yet_is_not_missing(scene: Scene) -> None:
    """Its row and its pin come first."""
    pinned = {digest.sha256 for digest in scene.store.entries()} - named(scene)
    assert len(pinned) == 1
    scene.store.delete_all(pinned)
    assert scene.check().findings == []


def named(scene: Scene) -> set[str]:
    return {row["sha256"] for row in dump(scene.db)["artifact"]}


def test_a_file_that_the_record_does_not_know_is_garbage(scene: Scene, tmp_path: Path) -> None:
    source = tmp_path / "stray"
    source.write_text("nobody's")
    sha256, _ = digest(source)
    scene.store.put(source, sha256)
    assert scene.check(min_age_seconds=3600).findings == [], "it may be on its way"
    finding = only(scene.check(), "stray")
    assert (finding.subject, finding.is_garbage) == (sha256, True)
    assert only(scene.check(fix=True), "stray").is_mended
    assert scene.store.size_of(sha256) is None
    assert scene.check().findings == []


def test_a_stray_file_that_is_staged_meanwhile_is_kept(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what fsck has seen and what it removes."""
    source = tmp_path / "stray"
    source.write_text("somebody's after all")
    sha256, _ = digest(source)
    scene.store.put(source, sha256)
    adopt_and_collect = fsck._adopt_and_collect

    def stage_first(*arguments: Any) -> None:
        artifacts.stage(scene.db, scene.store, scene.lease, {"s/b": source})
        adopt_and_collect(*arguments)

    monkeypatch.setattr(fsck, "_adopt_and_collect", stage_first)
    assert only(scene.check(fix=True), "stray").is_mended
    assert scene.store.size_of(sha256) is not None
    assert scene.check().findings == []


def test_a_file_that_nothing_names_is_garbage(scene: Scene, tmp_path: Path) -> None:
    source = tmp_path / "unused"
    source.write_text("abandoned")
    sha256, size_bytes = digest(source)
    add_all(scene.db, [Blob(sha256=sha256, size_bytes=size_bytes)])
    scene.store.put(source, sha256)
    assert scene.check(min_age_seconds=3600).findings == []
    assert only(scene.check(), "unused").is_garbage
    assert only(scene.check(fix=True), "unused").is_mended
    assert scene.store.size_of(sha256) is None
    assert scene.check().findings == []


@pytest.mark.parametrize("run", ["done_run", "failed_run", "waiting_run"])
def test_a_pin_of_a_run_that_no_one_holds_is_garbage(scene: Scene, run: str) -> None:
    run_id = scene.names()[run]
    scene.tamper(f"INSERT INTO pin SELECT sha256, '{run_id}', 1 FROM pin")  # noqa: S608 - an id
    assert only(scene.check(), "pin").is_garbage
    assert only(scene.check(fix=True), "pin").is_mended
    assert scene.check().findings == []
    assert len(dump(scene.db)["pin"]) == 1, "the other pin is still there"


def test_a_pin_of_an_attempt_before_the_present_one_is_garbage(scene: Scene) -> None:
    """And the file that it kept goes with it."""
    run_id = scene.lease.run_id
    scene.tamper(f"UPDATE run SET attempt = 2 WHERE id = '{run_id}'")  # noqa: S608 - an id
    report = scene.check(fix=True)
    assert [finding.code for finding in report.findings] == ["pin", "unused"]
    assert report.remaining == []
    assert dump(scene.db)["pin"] == []
    assert len(list(scene.store.digests())) == 5


FAULTS = {
    "a file's row is gone": (
        "DELETE FROM blob WHERE sha256 = (SELECT sha256 FROM artifact WHERE path = 'results.json')",
        {"dangling", "stray"},
    ),
    "a run's job is gone": ("DELETE FROM job WHERE id = '{failed}'", {"dangling"}),
    "a size differs": (
        "UPDATE artifact SET size_bytes = size_bytes + 1 WHERE path = 'results.json'",
        {"artifact"},
    ),
    "a file is of another's run": (
        "UPDATE artifact SET job_id = '{waiting}' WHERE path = 'results.json'",
        {"artifact"},
    ),
    "a key answers with no job": (
        "INSERT INTO idempotency SELECT '', 'k', 'h', 'no job', created_at FROM job LIMIT 1",
        {"idempotency"},
    ),
    "a run needs another job's": (
        "UPDATE run_need SET needs_id = '{done_run}' WHERE needs_id = '{waiting_run}'",
        {"need", "waiting"},
    ),
    "a run needs a later one": (
        "UPDATE run SET position = 9 WHERE id = '{done_run}'",
        {"need"},
    ),
    "a run waits for too many": (
        "UPDATE run SET waiting_for = 1 WHERE id = '{waiting_run}'",
        {"waiting"},
    ),
    "a run waits for too few": (
        "UPDATE run SET waiting_for = 1 WHERE id = '{waiting_end}'",
        {"waiting"},
    ),
    "a run that has ended has a worker": (
        "UPDATE run SET worker = 'w' WHERE id = '{done_run}'",
        {"run"},
    ),
    "a run that is held has no worker": (
        "UPDATE run SET worker = NULL WHERE id = '{held}'",
        {"run"},
    ),
    "a run has ended at no time": (
        "UPDATE run SET finished_at = NULL WHERE id = '{done_run}'",
        {"run"},
    ),
    "a run has failed for no reason": (
        "UPDATE run SET reason = NULL WHERE id = '{failed_run}'",
        {"run"},
    ),
    "a run goes on under a job that has ended": (
        "UPDATE run SET state = 'queued', finished_at = NULL WHERE id = '{failed_run}'",
        {"run", "job"},
    ),
    "an epoch is missing": ("DELETE FROM metric WHERE epoch = 1", {"metrics"}),
    "an epoch is too many": (
        "UPDATE run SET epochs_done = 1 WHERE id = '{done_run}'",
        {"metrics"},
    ),
    "a model has no export": (
        "DELETE FROM artifact WHERE path LIKE '%/model.onnx'",
        {"model", "unused"},
    ),
    "a model's run has failed": (
        "UPDATE run SET state = 'failed', reason = 'nan_loss' WHERE id = '{done_run}'",
        {"model", "job"},
    ),
    "a job has no collation": (
        "DELETE FROM run WHERE job_id = '{failed}' AND role = 'collation'",
        {"job", "dangling"},
    ),
    "a job has succeeded and a run has not": (
        "UPDATE job SET state = 'succeeded', reason = NULL WHERE id = '{failed}'",
        {"job"},
    ),
    "a job runs and nothing of it does": (
        "UPDATE job SET state = 'running', finished_at = NULL WHERE id = '{done}'",
        {"job"},
    ),
    "a job waits and something of it runs": (
        "UPDATE job SET state = 'queued' WHERE state = 'running'",
        {"job"},
    ),
    "a job is being cancelled and nothing of it is": (
        "UPDATE job SET state = 'cancelling', reason = 'cancelled_by_user' WHERE id = '{waiting}'",
        {"job"},
    ),
    "a job has ended at no time": (
        "UPDATE job SET finished_at = NULL WHERE id = '{done}'",
        {"job"},
    ),
    "an event is newer than its job": (
        "UPDATE job SET version = 1 WHERE id = '{done}'",
        {"history"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_record_is_found(copied: Scene, fault: str) -> None:
    scene = copied
    statement, codes = FAULTS[fault]
    scene.tamper(statement.format(**scene.names()))
    assert scene.codes() == codes
    mended = {"stray", "unused", "idempotency"} | ({"dangling"} if "stray" in codes else set())
    assert {finding.code for finding in scene.check(fix=True).remaining} == codes - mended
    assert scene.codes() == codes - mended


def test_many_faults_at_once_are_all_found(scene: Scene) -> None:
    """On each database."""
    chosen = (
        "a size differs",
        "a key answers with no job",
        "a run waits for too many",
        "a run that is held has no worker",
        "an epoch is missing",
        "a model has no export",
        "a job has ended at no time",
        "an event is newer than its job",
    )
    names = scene.names()
    for fault in chosen:
        scene.tamper(FAULTS[fault][0].format(**names))
    codes = set[str]().union(*(FAULTS[fault][1] for fault in chosen))
    assert scene.codes() == codes
    assert {finding.code for finding in scene.check(fix=True).remaining} == codes - {
        "idempotency",
        "unused",
    }
    scene.tamper(f"DELETE FROM job WHERE id = '{scene.failed}'")  # noqa: S608 - an id
    assert "dangling" in scene.codes()


def test_a_file_whose_row_is_lost_is_given_one_again(scene: Scene) -> None:
    sha256 = scene.digest_of(scene.done, "results.json")
    scene.tamper(f"DELETE FROM blob WHERE sha256 = '{sha256}'")  # noqa: S608 - a digest
    found = {finding.code: finding for finding in scene.check(fix=True).findings}
    assert "dangling" not in found
    assert f"artifact {scene.done}/results.json" in found["stray"].detail
    assert (found["stray"].is_garbage, found["stray"].is_mended) == (False, True)
    assert scene.check().findings == []
    assert scene.store.size_of(sha256) == len("{}")


@on_sqlite
def test_removing_garbage_leaves_all_the_rest(scene: Scene) -> None:
    before = dump(scene.db)
    stored = set(scene.store.digests())
    statement, _ = FAULTS["a key answers with no job"]
    scene.tamper(statement)
    scene.check(fix=True)
    assert dump(scene.db) == before
    assert set(scene.store.digests()) == stored


def run_fsck(environment: dict[str, str], *options: str) -> tuple[int, str, str]:
    """`fmx admin fsck` as a process: its status, answer and complaints."""
    done = subprocess.run(
        [sys.executable, "-m", "fmx_store.admin", "fsck", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def variables_of(scene: Scene) -> dict[str, str]:
    assert isinstance(scene.store, FolderStore)
    folder = scene.store.folder
    url = scene.db.url.replace("postgresql+psycopg", "postgresql")
    return {"FMX_DATABASE_URL": url, "FMX_STORAGE_URL": f"file://{folder}"}


@on_sqlite
def test_the_command_says_what_it_finds(scene: Scene) -> None:
    variables = variables_of(scene)
    status, said, _ = run_fsck(variables)
    assert status == 0
    stored_bytes = sum(entry.size_bytes for entry in scene.store.entries())
    files = f"6 known files, 6 stored files of {stored_bytes} bytes"
    assert said == f"4 jobs, {files}: all is well\n"
    sha256 = scene.digest_of(scene.done, "results.json")
    scene.store.delete(sha256)
    overwrite(scene.store, "f" * 64, b"stray")
    status, said, _ = run_fsck(variables, "--deep", "--min-age", "0")
    assert status == 1
    assert f"missing      {sha256}: it is not stored; it is artifact {scene.done}/results" in said
    assert said.endswith("2 things are wrong\n")
    status, said, _ = run_fsck(variables, "--fix", "--json", "--min-age", "0")
    report = json.loads(said)
    assert (status, report["is_clean"]) == (1, False)
    assert [(f["code"], f["is_mended"]) for f in report["findings"]] == [
        ("missing", False),
        ("stray", True),
    ]
    overwrite(scene.store, sha256, b"{}")
    assert run_fsck(variables, "--deep")[0] == 0


@on_sqlite
def test_the_command_says_what_it_can_not_reach(scene: Scene, tmp_path: Path) -> None:
    url = scene.db.url.replace("postgresql+psycopg", "postgresql")
    nowhere = f"http://127.0.0.1:{free_port()}"
    storage = {"FMX_STORAGE_URL": "s3://bucket", "FMX_STORAGE_ENDPOINT": nowhere}
    variables = {"FMX_DATABASE_URL": url, "FMX_DATA_DIR": str(tmp_path)}
    began = time.monotonic()
    status, said, complaints = run_fsck({**variables, **storage})
    assert (status, said) == (2, "")
    assert complaints.startswith("fmx admin: the storage at s3://bucket/ does not work: ")
    assert time.monotonic() - began < 30
