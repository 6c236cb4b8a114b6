"""The folder of blobs: whole or not there, whatever happens in the middle of a put."""

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from record_kit import together

from fmx_store import blobs as blobs_module
from fmx_store.blobs import FolderStore, digest, open_store
from fmx_store.errors import BlobError, StorageUnavailableError
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


def test_bytes_are_safe_before_their_name_is_and_the_name_before_the_answer(
    blobs: FolderStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which a power cut at any moment leaves a whole blob, or none."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        done.append(f"rename {path} {target}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    sha256, _ = digest(source)
    blobs.put(source, sha256)
    target = blobs.folder / sha256[:2] / sha256
    temporary = done[0].removeprefix("sync ")
    assert temporary.startswith(f"{blobs.folder}/incoming/")
    assert done[1:] == [
        f"rename {temporary} {target}",
        f"sync {target.parent}",
        f"sync {blobs.folder}",
    ]
    done.clear()
    blobs.put(source, sha256)  # it may have been renamed by one that is not safe yet
    assert done == [f"sync {target.parent}", f"sync {blobs.folder}"]


@pytest.mark.parametrize("call", ["replace", "_sync_folder"])
def test_a_put_that_was_killed_at_any_point_can_be_done_again(
    blobs: FolderStore, source: Path, call: str
) -> None:
    script = f"""
import os, sys
from pathlib import Path
from fmx_store import blobs
owner = Path if "{call}" == "replace" else blobs
setattr(owner, "{call}", lambda *_: os.kill(os.getpid(), 9))
source = Path(sys.argv[2])
blobs.FolderStore(Path(sys.argv[1])).put(source, blobs.digest(source)[0])
"""
    command = [sys.executable, "-c", script, str(blobs.folder), str(source)]
    assert subprocess.run(command, check=False).returncode == -9
    sha256, _ = digest(source)
    blobs.put(source, sha256)
    with blobs.open(sha256) as file:
        assert file.read() == source.read_bytes()


def test_a_disk_that_is_full_in_the_middle_leaves_nothing(blobs: FolderStore, source: Path) -> None:
    """A real limit of the kernel: no file of this process may grow further."""
    script = """
import resource, sys
from pathlib import Path
from fmx_store.blobs import NO_ROOM, FolderStore, digest
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
source = Path(sys.argv[2])
try:
    FolderStore(Path(sys.argv[1])).put(source, digest(source)[0])
except OSError as error:
    sys.exit(0 if error.errno in NO_ROOM else 1)
sys.exit(2)
"""
    command = [sys.executable, "-c", script, str(blobs.folder), str(source)]
    assert subprocess.run(command, check=False).returncode == 0
    assert everything(blobs.folder) == []
    blobs.put(source, digest(source)[0])
    assert len(everything(blobs.folder)) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path, source: Path, tmp_path: Path) -> None:
    store = FolderStore(small_disk / "blobs")
    with pytest.raises(OSError, match="space") as caught:
        store.put(source, digest(source)[0])
    assert caught.value.errno == errno.ENOSPC
    assert everything(store.folder) == []
    small = tmp_path / "small-file"
    small.write_bytes(b"fits")
    store.put(small, digest(small)[0])
    assert len(everything(store.folder)) == 1


@pytest.mark.parametrize("place", ["{shard}", "incoming"])
def test_a_folder_that_does_not_work_may_heal(blobs: FolderStore, source: Path, place: str) -> None:
    """What stands in the way here is a file; a mount that is gone or forbidden says likewise."""
    sha256, _ = digest(source)
    obstacle = blobs.folder / place.format(shard=sha256[:2])
    if obstacle.exists():
        obstacle.rmdir()
    obstacle.write_text("no folder")
    with pytest.raises(StorageUnavailableError, match="does not work"):
        blobs.put(source, sha256)
    assert everything(blobs.folder) == [obstacle]
    obstacle.unlink()
    FolderStore(blobs.folder).put(source, sha256)
    assert len(everything(blobs.folder)) == 1


def test_a_user_who_may_not_write_is_told() -> None:
    """As a process of another user, since root may do all."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    script = """
import os, sys
from pathlib import Path
from fmx_store.blobs import FolderStore, digest
from fmx_store.errors import StorageUnavailableError
folder = Path(sys.argv[1])
store = FolderStore(folder / "blobs")
sha256 = digest(folder / "source")[0]
os.setuid(65534)
try:
    store.put(folder / "source", sha256)
except StorageUnavailableError as error:
    sys.exit(0 if "Permission denied" in str(error) else 1)
sys.exit(2)
"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "source").write_text("readable")
        command = [sys.executable, "-c", script, name]
        assert subprocess.run(command, check=False).returncode == 0
        assert everything(folder / "blobs") == []
