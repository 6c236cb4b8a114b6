"""Registered data sets: a name for ever for the same contents, kept while jobs use it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fmx_ml.requests import parse_request
from fmx_ml.specs import OwnDataset
from fmx_store import artifacts, datasets, jobs
from fmx_store.blobs import FolderStore
from fmx_store.database import Database
from fmx_store.errors import ConflictError, CursorError, NotFoundError, UnknownDatasetError
from fmx_store.submissions import Submission, plan_runs, record
from fmx_store.tables import Blob, Dataset, JobDataset

ABOUT: dict[str, Any] = {
    "class_names": ["a", "b", "c", "d"],
    "first_half": [0, 1],
    "train_per_class": [6] * 4,
    "test_per_class": [1] * 4,
    "notes": [],
}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "packed"
    path.write_bytes(b"pictures")
    return path


def register(db: Database, blobs: FolderStore, packed: Path, name: str = "mine") -> Dataset:
    return datasets.register(db, blobs, name, packed, ABOUT)


def submit(db: Database, name: str = "mine", **fields: Any) -> str:
    request = parse_request({"kind": "q1", "spec": {"dataset": name}, **fields})
    return record(db, Submission(request), 100).job_id


def other(packed: Path) -> Path:
    path = packed.with_name("other")
    path.write_bytes(b"other pictures")
    return path


def test_a_name_stands_for_its_contents(db: Database, blobs: FolderStore, packed: Path) -> None:
    row = register(db, blobs, packed)
    assert row.sha256 == hashlib.sha256(b"pictures").hexdigest()
    assert row.size_bytes == 8
    assert blobs.size_of(row.sha256) == 8
    dataset = datasets.resolve(db, "mine")
    assert dataset == OwnDataset(
        name="mine", sha256=row.sha256, class_names=tuple("abcd"), first_half=(0, 1)
    )
    assert datasets.resolve(db, "synthetic") is None


def test_the_same_a_second_time_changes_nothing(
    db: Database, blobs: FolderStore, packed: Path
) -> None:
    first = register(db, blobs, packed)
    blobs.delete(first.sha256)  # as a disk may lose it
    again = register(db, blobs, packed)
    assert again.created_at == first.created_at
    assert blobs.size_of(first.sha256) == 8, "what was lost is mended"


def test_other_contents_are_refused(db: Database, blobs: FolderStore, packed: Path) -> None:
    first = register(db, blobs, packed)
    with pytest.raises(ConflictError, match="registered with other contents"):
        register(db, blobs, other(packed))
    assert datasets.require_dataset(db, "mine").sha256 == first.sha256
    assert register(db, blobs, packed, "twin").sha256 == first.sha256


def test_of_many_at_once_one_wins(db: Database, blobs: FolderStore, packed: Path) -> None:
    files = [packed, other(packed)] * 4

    def attempt(file: Path) -> str | None:
        try:
            return register(db, blobs, file).sha256
        except ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = set(pool.map(attempt, files)) - {None}
    assert won == {datasets.require_dataset(db, "mine").sha256}


def test_jobs_name_what_they_learn(db: Database, blobs: FolderStore, packed: Path) -> None:
    row = register(db, blobs, packed)
    request = parse_request({"kind": "q1", "spec": {"dataset": "mine"}})
    (planned,) = plan_runs(db, request, 10)
    assert planned.training.dataset == datasets.identify(row)
    job_id = submit(db)
    assert jobs.require_job(db, job_id).spec["dataset"] == "mine"
    with db.read() as session:
        named = session.get(JobDataset, job_id)
    assert named is not None
    assert (named.name, named.contents) == ("mine", row.sha256)
    assert submit(db, "synthetic")


def test_trainings_of_two_sets_with_one_name_are_never_equal(
    db: Database, blobs: FolderStore, packed: Path
) -> None:
    register(db, blobs, packed)
    hashes = [jobs.list_runs(db, submit(db))[0].training_hash for _ in range(2)]
    assert hashes[0] == hashes[1]
    for job in jobs.list_jobs(db, limit=9).items:
        jobs.cancel(db, job.id)
        jobs.remove(db, job.id)
    datasets.remove(db, "mine")
    register(db, blobs, other(packed))
    assert jobs.list_runs(db, submit(db))[0].training_hash != hashes[0]


def test_what_jobs_use_stays(db: Database, blobs: FolderStore, packed: Path) -> None:
    row = register(db, blobs, packed)
    job_id = submit(db)
    with pytest.raises(ConflictError, match="jobs use the data set 'mine'"):
        datasets.remove(db, "mine")
    assert artifacts.collect(db, blobs, [row.sha256]) == 0
    jobs.cancel(db, job_id)
    jobs.remove(db, job_id)
    assert datasets.remove(db, "mine") == row.sha256
    assert artifacts.collect(db, blobs, [row.sha256]) == 1
    assert blobs.size_of(row.sha256) is None
    with db.read() as session:
        assert session.get(Blob, row.sha256) is None
    with pytest.raises(NotFoundError, match="no data set 'mine'"):
        datasets.remove(db, "mine")


def test_a_set_that_goes_while_a_job_comes(
    db: Database, blobs: FolderStore, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is removed after the job was planned, and before it is written."""
    row = register(db, blobs, packed)
    known = datasets.identify(row)
    answers = iter([known])
    resolve = datasets.resolve

    def seen_before(record: Database, name: str) -> OwnDataset | None:
        return next(answers, None) or resolve(record, name)

    datasets.remove(db, "mine")
    monkeypatch.setattr(datasets, "resolve", seen_before)
    with pytest.raises(UnknownDatasetError, match="there are fashion-mnist, synthetic"):
        submit(db)
    assert jobs.list_jobs(db, limit=9).items == []


@pytest.mark.parametrize("name", ["nothing", "MINE", "", "a\0b", "\ud800"])
def test_names_that_there_are_not(name: str, db: Database) -> None:
    with pytest.raises(UnknownDatasetError):
        datasets.resolve(db, name)
    with pytest.raises(NotFoundError):
        datasets.require_dataset(db, name)


def test_lists_are_paged_by_name(db: Database, blobs: FolderStore, packed: Path) -> None:
    names = ["a", "a-b", "a.b", "a_b", "ab", "b"]
    for name in reversed(names):
        register(db, blobs, packed, name)
    seen: list[str] = []
    cursor = None
    while True:
        page = datasets.list_datasets(db, limit=2, cursor=cursor)
        seen += [row.name for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(names)
    with pytest.raises(CursorError):
        datasets.list_datasets(db, cursor="?")
