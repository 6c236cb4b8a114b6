"""Artifacts: staged, published, read, collected; and what happens when these meet."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from record_kit import CRASHES, add_all, check_record, claim, submit, together
from sqlmodel import col, select, update

from fmx_store import artifacts, claims, jobs
from fmx_store.blobs import FolderStore, digest
from fmx_store.claims import Failure, StagedFile, Success
from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.states import Reason
from fmx_store.tables import Blob, Pin, now


def write(folder: Path, text: str, name: str = "source") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def age_blobs(db: Database) -> None:
    """As if every blob had been stored long ago."""
    with db.write() as session:
        session.exec(update(Blob).values(created_at=now() - timedelta(days=1)))


def digests_of(db: Database) -> set[str]:
    with db.read() as session:
        return set(session.exec(select(Blob.sha256)))


def test_staged_files_are_published_by_the_finish(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    job = submit(db)
    lease = claim(db).lease
    files = {"run/b.csv": write(tmp_path, "1,2", "b"), "run/a.png": write(tmp_path, "png", "a")}
    staged = artifacts.stage(db, blobs, lease, files)
    sha256, size_bytes = digest(files["run/b.csv"])
    assert staged[0] == StagedFile("run/b.csv", sha256, size_bytes, "text/csv; charset=utf-8")
    assert artifacts.list_artifacts(db, job.id) == []
    claims.finish(db, lease, Success(files=staged))
    listed = artifacts.list_artifacts(db, job.id)
    assert [artifact.path for artifact in listed] == ["run/a.png", "run/b.csv"]
    found = artifacts.require_artifact(db, job.id, "run/b.csv")
    assert (found.sha256, found.size_bytes, found.run_id) == (sha256, 3, lease.run_id)
    with blobs.open(sha256) as file:
        assert file.read() == b"1,2"
    check_record(db)


@pytest.mark.parametrize("path", ["run/none", "", "\0", "run/\udcff", "../run/a", "RUN/A"])
def test_a_path_that_is_not_there_is_not_found(
    db: Database, blobs: FolderStore, tmp_path: Path, path: str
) -> None:
    job = submit(db)
    lease = claim(db).lease
    staged = artifacts.stage(db, blobs, lease, {"run/a": write(tmp_path, "x")})
    claims.finish(db, lease, Success(files=staged))
    with pytest.raises(NotFoundError):
        artifacts.require_artifact(db, job.id, path)


def test_files_are_found_by_their_path_within_the_run(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    submit(db, spec={"seeds": [500_000]})
    names = ("seed-500000/deep/a.txt", "seed-500000/b.txt", "c.txt", "seed-5000001/d.txt")
    lease = claim(db).lease
    files = {name: write(tmp_path, name, str(i)) for i, name in enumerate(names)}
    staged = artifacts.stage(db, blobs, lease, files)
    claims.finish(db, lease, Success(files=staged))
    found = artifacts.artifacts_of_run(db, lease.run_id)
    assert set(found) == {"deep/a.txt", "b.txt", "c.txt", "seed-5000001/d.txt"}


def test_equal_files_are_stored_once_and_staging_twice_is_fine(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    submit(db)
    lease = claim(db).lease
    files = {"r/a": write(tmp_path, "same", "a"), "r/b": write(tmp_path, "same", "b")}
    first = artifacts.stage(db, blobs, lease, files)
    assert artifacts.stage(db, blobs, lease, files) == first
    assert len(list(blobs.digests())) == 1
    claims.finish(db, lease, Success(files=first))
    check_record(db)


def test_many_workers_stage_the_same_files_at_once(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    job = submit(db, seeds=6)
    leases = [claim(db).lease for _ in range(6)]
    files = [write(tmp_path, f"file {n}", str(n)) for n in range(5)]

    def publish(number: int) -> None:
        order = files if number % 2 else files[::-1]
        named = {f"run-{number}/{path.name}": path for path in order}
        staged = artifacts.stage(db, blobs, leases[number], named)
        claims.finish(db, leases[number], Success(files=staged))

    assert together(*[lambda n=n: publish(n) for n in range(6)]) == [None] * 6
    assert len(artifacts.list_artifacts(db, job.id)) == 30
    assert len(digests_of(db)) == 5
    check_record(db)


def test_a_pinned_blob_is_not_collected_and_an_abandoned_one_is(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    submit(db)
    lease = claim(db).lease
    [staged] = artifacts.stage(db, blobs, lease, {"r/a": write(tmp_path, "x")})
    age_blobs(db)
    assert artifacts.find_unused(db) == []
    assert artifacts.collect(db, blobs, [staged.sha256]) == 0
    claims.hand_back(db, lease)
    assert artifacts.find_unused(db) == [staged.sha256]
    assert artifacts.collect(db, blobs, [staged.sha256, staged.sha256, "0" * 64]) == 1
    assert digests_of(db) == set()
    assert list(blobs.digests()) == []
    assert artifacts.collect(db, blobs, [staged.sha256]) == 0


@pytest.mark.parametrize("end", ["crash", "last crash", "silence", "cancel", "finish", "failure"])
def test_no_end_of_an_attempt_leaves_a_pin(
    db: Database, blobs: FolderStore, tmp_path: Path, end: str
) -> None:
    job = submit(db)
    lease = claim(db).lease
    artifacts.stage(db, blobs, lease, {"r/a": write(tmp_path, "x")})
    if end == "crash":
        claims.report_crash(db, lease, "killed", CRASHES)
    elif end == "last crash":
        claims.report_crash(db, lease, "killed", 1)
    elif end == "silence":
        claims.take_back(db, claims.active(db)[0], CRASHES)
    elif end == "cancel":
        jobs.cancel(db, job.id)
        claims.report_crash(db, lease, "killed", CRASHES)
    else:
        failure = Failure(Reason.NAN_LOSS, "nan_loss", "nan")
        claims.finish(db, lease, Success() if end == "finish" else failure)
    with db.read() as session:
        assert session.exec(select(Pin)).all() == []
    check_record(db)


def test_only_old_blobs_count_as_left_behind(db: Database) -> None:
    add_all(db, [Blob(sha256=f"{n:064d}", size_bytes=1) for n in range(3)])
    assert artifacts.find_unused(db) == []
    age_blobs(db)
    with db.write() as session:
        older = now() - timedelta(days=2)
        session.exec(update(Blob).where(col(Blob.sha256) == f"{2:064d}").values(created_at=older))
    assert artifacts.find_unused(db)[0] == f"{2:064d}"
    assert len(artifacts.find_unused(db, limit=2)) == 2


def test_many_blobs_are_collected_in_a_few_transactions(db: Database, blobs: FolderStore) -> None:
    digests = [f"{n:064d}" for n in range(250)]
    add_all(db, [Blob(sha256=sha256, size_bytes=1) for sha256 in digests])
    assert artifacts.collect(db, blobs, digests) == 250
    assert digests_of(db) == set()


def test_a_store_that_fails_to_delete_keeps_the_rows(db: Database, tmp_path: Path) -> None:
    class Broken(FolderStore):
        def delete(self, sha256: str) -> None:
            raise OSError(f"no way to {sha256}")

    add_all(db, [Blob(sha256="0" * 64, size_bytes=1)])
    with pytest.raises(OSError, match="no way"):
        artifacts.collect(db, Broken(tmp_path / "broken"), ["0" * 64])
    assert digests_of(db) == {"0" * 64}


def test_what_is_published_can_be_read_whatever_is_collected_meanwhile(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    """One thread publishes a file and deletes its job, again and again; two collect it."""
    source = write(tmp_path, "the same contents")
    sha256, _ = digest(source)
    done = threading.Event()
    collected = [0, 0]

    def publish() -> None:
        try:
            for _ in range(25):
                job = submit(db)
                lease = claim(db).lease
                staged = artifacts.stage(db, blobs, lease, {"r/a": source})
                claims.finish(db, lease, Success(files=staged))
                artifact = artifacts.require_artifact(db, job.id, "r/a")
                with blobs.open(artifact.sha256) as file:
                    assert file.read() == b"the same contents"
                claims.finish(db, claim(db).lease, Success())
                jobs.remove(db, job.id)
        finally:
            done.set()

    def collect(number: int) -> None:
        while not done.is_set():
            collected[number] += artifacts.collect(db, blobs, [sha256])

    assert together(publish, lambda: collect(0), lambda: collect(1)) == [None] * 3
    artifacts.collect(db, blobs, [sha256])
    assert sum(collected) > 0
    assert digests_of(db) == set()
    assert list(blobs.digests()) == []


def test_a_blob_that_is_being_pinned_is_passed_over(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    """The collection finds nothing to do, whether it waits for the pin or not."""
    submit(db)
    claimed = claim(db)
    source = write(tmp_path, "wanted")
    sha256, size_bytes = digest(source)
    add_all(db, [Blob(sha256=sha256, size_bytes=size_bytes)])
    blobs.put(source, sha256)
    pinned, done = threading.Event(), threading.Event()

    def pin_slowly() -> None:
        with db.write() as session:
            _, run = claims.hold(session, claimed.lease)
            artifacts._pin_once(session, run, {sha256: size_bytes})
            session.flush()
            pinned.set()
            done.wait(0.3)

    def collect() -> int:
        pinned.wait(5)
        try:
            return artifacts.collect(db, blobs, [sha256])
        finally:
            done.set()

    assert together(pin_slowly, collect) == [None, 0]
    assert digests_of(db) == set(blobs.digests()) == {sha256}


def test_a_blob_that_is_being_collected_is_stored_again(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    submit(db)
    lease = claim(db).lease
    source = write(tmp_path, "wanted")
    sha256, size_bytes = digest(source)
    add_all(db, [Blob(sha256=sha256, size_bytes=size_bytes)])
    blobs.put(source, sha256)
    deleting = threading.Event()

    class Slow(FolderStore):
        def delete(self, sha256: str) -> None:
            deleting.set()
            time.sleep(0.2)
            super().delete(sha256)

    def stage() -> list[StagedFile]:
        deleting.wait(5)
        return artifacts.stage(db, blobs, lease, {"r/a": source})

    slow = Slow(blobs.folder)
    removed, staged = together(lambda: artifacts.collect(db, slow, [sha256]), stage)
    assert removed == 1
    claims.finish(db, lease, Success(files=staged))
    with blobs.open(sha256) as file:
        assert file.read() == b"wanted"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("a/b.csv", "text/csv; charset=utf-8"),
        ("b.json", "application/json"),
        ("c.svg", "image/svg+xml"),
        ("c.png", "image/png"),
        ("log.txt", "text/plain; charset=utf-8"),
        ("m.onnx", "application/octet-stream"),
        ("m.safetensors", "application/octet-stream"),
        ("none", "application/octet-stream"),
        ("page.html", "application/octet-stream"),
    ],
)
def test_media_types_go_by_the_ending(path: str, media_type: str) -> None:
    assert artifacts.media_type_of(path) == media_type
