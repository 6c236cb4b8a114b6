"""Stored files, named by the sha256 of their contents: one interface for all that keep them.

    FolderStore                a local folder, or a shared one (here)
    S3Store                    a bucket (fmx_store/s3.py), imported where one is used

In each a blob lies at `ab/abcd…`, so a folder can be copied into a bucket as it is.
"""

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import time
import uuid
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from fmx_store.errors import BlobError, StorageUnavailableError
from fmx_store.settings import Settings

CHUNK_BYTES = 1024 * 1024
INCOMING_SECONDS = 24 * 3600.0  # nothing takes as long to store
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredBlob:
    """A blob as its store lists it."""

    sha256: str
    size_bytes: int
    stored_at: datetime


class BlobStore(Protocol):
    """Where files lie. A blob never changes; it is there whole or not at all.

    Every method raises StorageUnavailableError where the store can't be reached or does not work,
    which may heal, and OSError with one of NO_ROOM's numbers where it is full.
    """

    def put(self, source: Path, sha256: str) -> None:
        """Stores a file whose digest the caller has taken; a second time changes nothing.

        Raises BlobError where the file has changed since, OSError where it can't be read.
        """
        ...

    def open(self, sha256: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The blob from a position on, to be read once from front to back.

        Whoever names a `stop` reads no further, so that no more has to be sent. Raises BlobError
        where it is missing.
        """
        ...

    def fetch(self, sha256: str, to: Path) -> Path:
        """The blob as a local file: the store's own, or a verified copy at `to`.

        Raises BlobError where it is missing or its bytes are not those that were stored.
        """
        ...

    def size_of(self, sha256: str) -> int | None:
        """The blob's size in bytes; None where it is missing."""
        ...

    def sign(self, sha256: str, media_type: str, disposition: str) -> str | None:
        """A URL that gives the blob to whoever has it, for a while; None where there is none.

        The answer at that URL bears the media type and the content disposition.
        """
        ...

    def delete(self, sha256: str) -> None:
        """Removes the blob, if it is there."""
        ...

    def delete_all(self, digests: Iterable[str]) -> None:
        """Removes many blobs, each taken from the iterable right before it is asked to go."""
        ...

    def entries(self) -> Iterator[StoredBlob]:
        """Every blob there is."""
        ...

    def digests(self) -> Iterator[str]:
        """The digest of every blob there is."""
        ...

    def tidy(self) -> None:
        """Removes what was being stored when its process was killed."""
        ...

    def check(self) -> None:
        """Raises OSError where the store can't be used; within seconds."""
        ...


def digest(path: Path) -> tuple[str, int]:
    """A file's sha256 in hex, and its size in bytes."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return sha256, path.stat().st_size


def read_digest(file: BinaryIO) -> str:
    """The sha256, in hex, of what is left to read of a file."""
    sha256 = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        sha256.update(chunk)
    return sha256.hexdigest()


def is_digest(name: str) -> bool:
    """Whether a name can be a blob's."""
    return _DIGEST.fullmatch(name) is not None


def missing(sha256: str) -> BlobError:
    """The error of a blob that is not there."""
    return BlobError(f"blob {sha256} is missing")


class FolderStore:
    """Blobs in a folder of this machine or a shared one, written under another name, then renamed.

    What a put has written is on the disk before its new name, and that name before it answers.
    """

    def __init__(self, folder: Path) -> None:
        """Makes the folder, where there is none."""
        self.folder = folder
        self._incoming = folder / "incoming"
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _sync_folder(folder.parent)
        self._incoming.mkdir(exist_ok=True)

    def put(self, source: Path, sha256: str) -> None:
        target = self._path(sha256)
        with source.open("rb") as read, self._working():
            if not _is_whole(target, os.fstat(read.fileno()).st_size):
                self._write(read, target)  # a damaged one is mended so
            # Also where another put has just made it: ours may not answer before it is safe.
            _sync_folder(target.parent)
            _sync_folder(self.folder)

    def _write(self, source: BinaryIO, target: Path) -> None:
        temporary = self._incoming / uuid.uuid4().hex
        try:
            if _copy(source, temporary) != target.name:
                raise BlobError(f"{source.name} has changed while it was being stored")
            target.parent.mkdir(exist_ok=True)
            temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):  # what went wrong before is to be told, not this
                temporary.unlink(missing_ok=True)

    def open(self, sha256: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        del stop  # a local file costs what is read of it
        with self._working():
            try:
                file = self._path(sha256).open("rb")
            except FileNotFoundError as error:
                self._require_folder()
                raise missing(sha256) from error
            file.seek(start)
            return file

    def fetch(self, sha256: str, to: Path) -> Path:
        del to
        path = self.get_path(sha256)
        if path is not None:
            return path
        with self._working():
            self._require_folder()
        raise missing(sha256)

    def get_path(self, sha256: str) -> Path | None:
        """The file that the blob is, where it is there."""
        path = self._path(sha256)
        with self._working():
            return path if path.is_file() else None

    def size_of(self, sha256: str) -> int | None:
        with self._working():
            try:
                return self._path(sha256).stat().st_size
            except FileNotFoundError:
                self._require_folder()
                return None

    def sign(self, sha256: str, media_type: str, disposition: str) -> str | None:
        del sha256, media_type, disposition  # a folder serves no one

    def delete(self, sha256: str) -> None:
        with self._working():
            self._path(sha256).unlink(missing_ok=True)

    def delete_all(self, digests: Iterable[str]) -> None:
        for sha256 in digests:
            self.delete(sha256)

    def entries(self) -> Iterator[StoredBlob]:
        with self._working():
            self._require_folder()
            for path in self.folder.glob("??/*"):
                if is_digest(path.name):
                    with contextlib.suppress(FileNotFoundError):  # it has just been deleted
                        stat = path.stat()
                        stored_at = datetime.fromtimestamp(stat.st_mtime, UTC)
                        yield StoredBlob(path.name, stat.st_size, stored_at)

    def digests(self) -> Iterator[str]:
        return (entry.sha256 for entry in self.entries())

    def tidy(self) -> None:
        before = time.time() - INCOMING_SECONDS
        with self._working():
            for path in self._incoming.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()

    def check(self) -> None:
        with self._working(), tempfile.NamedTemporaryFile(dir=self._incoming):
            pass

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def _require_folder(self) -> None:
        """A folder that is not there has lost no blob: what it is mounted from is away."""
        self._incoming.stat()

    @contextlib.contextmanager
    def _working(self) -> Generator[None]:
        """Tells a folder that does not work from one that is full."""
        try:
            yield
        except StorageUnavailableError:
            raise
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise StorageUnavailableError(str(self.folder), str(error)) from error


def _is_whole(target: Path, size_bytes: int) -> bool:
    try:
        return target.stat().st_size == size_bytes and digest(target)[0] == target.name
    except FileNotFoundError:
        return False


def _copy(source: BinaryIO, target: Path) -> str:
    """Copies a file onto the disk; answers the sha256 of what was copied."""
    sha256 = hashlib.sha256()
    with target.open("xb") as written:
        while chunk := source.read(CHUNK_BYTES):
            sha256.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    return sha256.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_store(settings: Settings) -> BlobStore:
    """The store that the settings name."""
    if settings.storage_bucket is None:
        return FolderStore(settings.storage_dir)
    from fmx_store.s3 import open_bucket  # noqa: PLC0415 - its library takes 0.4 s and 40 MB

    return open_bucket(settings)
