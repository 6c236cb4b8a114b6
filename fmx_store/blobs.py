"""Stored files, named by the sha256 of their contents: one interface, a local folder behind it."""

import contextlib
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from fmx_store.errors import BlobError
from fmx_store.settings import Settings

CHUNK_BYTES = 1024 * 1024
INCOMING_SECONDS = 24 * 3600.0  # nothing takes as long to store


class BlobStore(Protocol):
    """Where files lie. A blob never changes; it is there whole or not at all."""

    def put(self, source: Path, sha256: str) -> None:
        """Stores a file whose digest the caller has taken; a second time changes nothing.

        Raises BlobError where the file has changed since, OSError where it can't be stored.
        """
        ...

    def open(self, sha256: str) -> BinaryIO:
        """The blob, to read. Raises BlobError where it is missing."""
        ...

    def get_path(self, sha256: str) -> Path | None:
        """The blob as a local file, where the store has it as one."""
        ...

    def delete(self, sha256: str) -> None:
        """Removes the blob, if it is there."""
        ...

    def digests(self) -> Iterator[str]:
        """Every blob there is."""
        ...

    def tidy(self) -> None:
        """Removes what was being stored when its process was killed."""
        ...

    def check(self) -> None:
        """Raises OSError where the store can't be written."""
        ...


def digest(path: Path) -> tuple[str, int]:
    """A file's sha256 in hex, and its size in bytes."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return sha256, path.stat().st_size


class FolderStore:
    """Blobs in a local folder, `ab/abcd…`, each written under another name, then renamed."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder."""
        self.folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, source: Path, sha256: str) -> None:
        target = self._path(sha256)
        if not _is_whole(target, source.stat().st_size):
            temporary = self._incoming / uuid.uuid4().hex
            try:
                if _copy(source, temporary) != sha256:
                    raise BlobError(f"{source} has changed while it was being stored")
                target.parent.mkdir(exist_ok=True)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        # Also where another put has just made it: ours may not answer before it is safe.
        _sync_folder(target.parent)
        _sync_folder(self.folder)

    def open(self, sha256: str) -> BinaryIO:
        try:
            return self._path(sha256).open("rb")
        except FileNotFoundError as error:
            raise BlobError(f"blob {sha256} is missing") from error

    def get_path(self, sha256: str) -> Path | None:
        path = self._path(sha256)
        return path if path.is_file() else None

    def delete(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        return (path.name for path in self.folder.glob("??/*"))

    def tidy(self) -> None:
        before = time.time() - INCOMING_SECONDS
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def check(self) -> None:
        with tempfile.NamedTemporaryFile(dir=self._incoming):
            pass

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256


def _is_whole(target: Path, size_bytes: int) -> bool:
    try:
        return target.stat().st_size == size_bytes
    except FileNotFoundError:
        return False


def _copy(source: Path, target: Path) -> str:
    """Copies a file onto the disk; answers the sha256 of what was copied."""
    sha256 = hashlib.sha256()
    with source.open("rb") as read, target.open("xb") as written:
        while chunk := read.read(CHUNK_BYTES):
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
    return FolderStore(settings.storage_dir)
