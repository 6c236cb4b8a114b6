"""What every store of blobs does, held against each: a folder, and a bucket over HTTP."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from record_kit import together

from fmx_store import s3
from fmx_store.blobs import CHUNK_BYTES, BlobStore, FolderStore, digest, open_store
from fmx_store.errors import BlobError, StorageUnavailableError
from fmx_store.s3 import S3Store
from fmx_store.settings import Settings

MEBIBYTE = 1024 * 1024
PART_BYTES = 5 * MEBIBYTE  # the smallest that the protocol allows


@pytest.fixture(params=["folder", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The settings of each store in turn."""
    if request.param == "folder":
        return Settings(data_dir=tmp_path / "data")
    named: dict[str, str] = request.getfixturevalue("s3_storage")
    values = {name.removeprefix("FMX_").lower(): value for name, value in named.items()}
    return Settings.model_validate({"data_dir": tmp_path / "data", **values})


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    """An empty store."""
    monkeypatch.setattr(s3, "PART_BYTES", PART_BYTES)
    return open_store(settings)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of some blocks."""
    return write(tmp_path, 3 * CHUNK_BYTES + 7)


def write(folder: Path, size_bytes: int) -> Path:
    path = folder / "source"
    path.write_bytes(os.urandom(size_bytes))
    return path


def read(store: BlobStore, sha256: str, *part: int) -> bytes:
    with store.open(sha256, *part) as file:
        return file.read() if len(part) < 2 else file.read(part[1] - part[0])


def damage(store: BlobStore, sha256: str, content: bytes) -> None:
    """Puts other bytes in a blob's place, past the store."""
    if isinstance(store, FolderStore):
        path = store.get_path(sha256)
        assert path is not None
        path.write_bytes(content)
    else:
        assert isinstance(store, S3Store)
        store._patient.put_object(**store._object(sha256), Body=content)


@pytest.mark.parametrize("size_bytes", [0, 1, 3 * CHUNK_BYTES + 7, 2 * PART_BYTES + 99])
def test_a_blob_comes_back_as_it_went_in(store: BlobStore, tmp_path: Path, size_bytes: int) -> None:
    source = write(tmp_path, size_bytes)
    sha256, _ = digest(source)
    assert store.size_of(sha256) is None
    before = datetime.now(UTC) - timedelta(seconds=2)
    store.put(source, sha256)
    store.put(source, sha256)
    assert read(store, sha256) == source.read_bytes()
    [entry] = store.entries()
    assert (entry.sha256, entry.size_bytes) == (sha256, size_bytes)
    assert before < entry.stored_at < datetime.now(UTC) + timedelta(seconds=2)
    assert store.size_of(sha256) == size_bytes
    assert list(store.digests()) == [sha256]


@pytest.mark.parametrize(
    "part", [(0, 1), (0, 100), (5, 6), (1000, 2 * CHUNK_BYTES), (3 * CHUNK_BYTES, None)]
)
def test_a_part_of_a_blob(store: BlobStore, source: Path, part: tuple[int, int | None]) -> None:
    sha256, size_bytes = digest(source)
    store.put(source, sha256)
    start, stop = part
    expected = source.read_bytes()[start:stop]
    if stop is None:
        assert read(store, sha256, start) == expected
        assert read(store, sha256, start, size_bytes) == expected
    else:
        assert read(store, sha256, start, stop) == expected


def test_what_is_not_there_is_missing(store: BlobStore, tmp_path: Path) -> None:
    sha256 = "0" * 64
    assert store.size_of(sha256) is None
    assert list(store.entries()) == []
    store.delete(sha256)
    for look in (lambda: store.open(sha256), lambda: store.fetch(sha256, tmp_path / "copy")):
        with pytest.raises(BlobError, match=sha256):
            look()


def test_a_deleted_blob_is_gone(store: BlobStore, source: Path) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    store.delete(sha256)
    store.delete(sha256)
    assert list(store.entries()) == []
    with pytest.raises(BlobError, match=sha256):
        store.open(sha256)
    store.put(source, sha256)
    assert read(store, sha256) == source.read_bytes()


def test_of_many_blobs_those_go_that_are_given_out(store: BlobStore, tmp_path: Path) -> None:
    digests: list[str] = []
    for number in range(5):
        source = tmp_path / str(number)
        source.write_text(str(number))
        digests.append(digest(source)[0])
        store.put(source, digests[-1])

    def some() -> Iterator[str]:
        yield from digests[:3]
        yield "f" * 64  # not there

    store.delete_all(some())
    store.delete_all([])
    assert set(store.digests()) == set(digests[3:])


@pytest.mark.parametrize("size_bytes", [100, PART_BYTES + 1])
def test_a_file_that_changes_while_it_is_stored_is_refused(
    store: BlobStore, tmp_path: Path, size_bytes: int
) -> None:
    source = write(tmp_path, size_bytes)
    sha256, _ = digest(source)
    source.write_bytes(b"x" * size_bytes)
    with pytest.raises(BlobError, match="changed"):
        store.put(source, sha256)
    assert list(store.entries()) == []


@pytest.mark.parametrize("size_bytes", [0, 99, 100])
def test_a_damaged_blob_is_mended_by_the_next_put(
    store: BlobStore, tmp_path: Path, size_bytes: int
) -> None:
    source = write(tmp_path, 100)
    sha256, _ = digest(source)
    store.put(source, sha256)
    damage(store, sha256, b"x" * size_bytes)
    store.put(source, sha256)
    assert read(store, sha256) == source.read_bytes()


def test_the_same_contents_stored_at_once_are_whole(store: BlobStore, source: Path) -> None:
    sha256, _ = digest(source)
    assert together(*[lambda: store.put(source, sha256)] * 6) == [None] * 6
    assert list(store.digests()) == [sha256]
    assert read(store, sha256) == source.read_bytes()


def test_a_local_file_has_the_blobs_bytes(store: BlobStore, source: Path, tmp_path: Path) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    for name in ("deep/one", "deep/two", "deep/one"):
        path = store.fetch(sha256, tmp_path / name)
        assert path.read_bytes() == source.read_bytes()


def test_only_blobs_are_listed(store: BlobStore, source: Path, settings: Settings) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    if isinstance(store, FolderStore):
        (settings.storage_dir / sha256[:2] / "notes.txt").write_text("not ours")
        (settings.storage_dir / "README").write_text("not ours")
    else:
        put_other_objects(store, sha256)
    assert list(store.digests()) == [sha256]


def put_other_objects(store: Any, sha256: str) -> None:
    keys = (
        "some/blobs/README",
        f"some/blobs/xx/{sha256}",
        f"some/blobs/{sha256}",
        f"else/{sha256}",
    )
    for key in keys:
        store._patient.put_object(Bucket=store._bucket, Key=key, Body=b"not ours")


def test_a_store_that_works_says_so(store: BlobStore) -> None:
    store.check()
    store.tidy()


def test_a_store_that_is_away_is_told_from_a_missing_blob(settings: Settings, source: Path) -> None:
    """A folder that is not mounted, a bucket that nobody has made."""
    if settings.storage_bucket is None:
        store = open_store(settings)
        settings.storage_dir.rename(settings.data_dir / "elsewhere")
    else:
        store = open_store(settings.model_copy(update={"storage_url": "s3://nobodys-bucket/x"}))
    sha256, _ = digest(source)
    calls = (
        store.check,
        lambda: store.put(source, sha256),
        lambda: store.open(sha256),
        lambda: store.fetch(sha256, source.with_name("copy")),
        lambda: list(store.entries()),
        store.tidy,
    )
    for call in calls:
        with pytest.raises(StorageUnavailableError):
            call()
