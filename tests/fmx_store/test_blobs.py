"""The folder of blobs: whole or not there, whatever happens in the middle of a put."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from record_kit import together

from fmx_store import blobs as blobs_module
from fmx_store.blobs import FolderStore, digest, open_store
from fmx_store.errors import BlobError
from fmx_store.settings import Settings


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of some blocks."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3 * blobs_module.CHUNK_BYTES + 7))
    return path


def everything(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_digest_is_sha256_and_size(source: Path) -> None:
    contents = source.read_bytes()
    assert digest(source) == (hashlib.sha256(contents).hexdigest(), len(contents))


def test_a_blob_comes_back_as_it_went_in(blobs: FolderStore, source: Path) -> None:
    sha256, _ = digest(source)
    assert blobs.get_path(sha256) is None
    blobs.put(source, sha256)
    blobs.put(source, sha256)
    path = blobs.get_path(sha256)
    assert path is not None
    assert everything(blobs.folder) == [path]
    with blobs.open(sha256) as file:
        assert file.read() == source.read_bytes()
    assert list(blobs.digests()) == [sha256]
    blobs.delete(sha256)
    blobs.delete(sha256)
    assert everything(blobs.folder) == []
    with pytest.raises(BlobError, match=sha256):
        blobs.open(sha256)


def test_others_may_read_what_one_user_stored(blobs: FolderStore, source: Path) -> None:
    sha256, _ = digest(source)
    before = os.umask(0o022)
    try:
        blobs.put(source, sha256)
    finally:
        os.umask(before)
    path = blobs.get_path(sha256)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_put_that_fails_half_way_leaves_nothing(
    blobs: FolderStore, source: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        if call == "fsync":
            patched.setattr(os, "fsync", fail)
        else:
            patched.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="no space"):
            blobs.put(source, digest(source)[0])
    assert everything(blobs.folder) == []
    blobs.put(source, digest(source)[0])
    assert len(everything(blobs.folder)) == 1


def test_a_file_that_changes_while_it_is_stored_is_refused(
    blobs: FolderStore, source: Path
) -> None:
    sha256, size_bytes = digest(source)
    source.write_bytes(b"x" * size_bytes)
    with pytest.raises(BlobError, match="changed"):
        blobs.put(source, sha256)
    assert everything(blobs.folder) == []


def test_a_blob_that_was_cut_off_is_stored_again(blobs: FolderStore, source: Path) -> None:
    sha256, size_bytes = digest(source)
    blobs.put(source, sha256)
    path = blobs.get_path(sha256)
    assert path is not None
    path.write_bytes(b"half")
    blobs.put(source, sha256)
    assert path.stat().st_size == size_bytes
    assert digest(path)[0] == sha256


def test_the_same_contents_stored_at_once_are_whole(blobs: FolderStore, source: Path) -> None:
    sha256, _ = digest(source)
    assert together(*[lambda: blobs.put(source, sha256)] * 6) == [None] * 6
    [path] = everything(blobs.folder)
    assert digest(path)[0] == sha256


def test_a_killed_put_leaves_nothing_that_counts_and_is_tidied_up(
    blobs: FolderStore, source: Path
) -> None:
    """The process dies when its copy is written and not yet renamed."""
    script = """
import os, sys
from pathlib import Path
from fmx_store.blobs import FolderStore, digest
Path.replace = lambda self, target: os.kill(os.getpid(), 9)
source = Path(sys.argv[2])
FolderStore(Path(sys.argv[1])).put(source, digest(source)[0])
"""
    command = [sys.executable, "-c", script, str(blobs.folder), str(source)]
    assert subprocess.run(command, check=False).returncode == -9
    [left] = everything(blobs.folder)
    assert list(blobs.digests()) == []
    assert blobs.get_path(digest(source)[0]) is None
    blobs.tidy()
    assert everything(blobs.folder) == [left]  # it may be another's, on its way
    os.utime(left, (0, 0))
    blobs.tidy()
    assert everything(blobs.folder) == []


def test_a_store_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "blobs")
    store.check()
    (tmp_path / "blobs" / "incoming").rmdir()
    with pytest.raises(OSError, match="incoming"):
        store.check()


def test_the_store_lies_where_the_settings_say(tmp_path: Path) -> None:
    open_store(Settings(data_dir=tmp_path / "data"))
    assert (tmp_path / "data" / "blobs" / "incoming").is_dir()
    url = f"file://{tmp_path}/with%20space"
    open_store(Settings(data_dir=tmp_path / "data", storage_url=url))
    assert (tmp_path / "with space" / "incoming").is_dir()
