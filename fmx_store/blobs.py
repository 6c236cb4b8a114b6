"""Stored files, named by the sha256 of their contents: one interface, a local folder behind it."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from fmx_store.errors import BlobError
from fmx_store.settings import Settings

CHUNK_BYTES = 1024 * 1024


class BlobStore(Protocol):
    """Where files lie. A blob never changes; it is there whole or not at all."""

    def put(self, source: Path, sha256: str) -> None:
        """Stores a file whose digest the caller has taken; a second time changes nothing."""
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
        if target.is_file():
            return
        target.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as file:
            temporary = Path(file.name)
            try:
                with source.open("rb") as opened:
                    shutil.copyfileobj(opened, file, CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_folder(target.parent)

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

    def check(self) -> None:
        with tempfile.NamedTemporaryFile(dir=self._incoming):
            pass

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_store(settings: Settings) -> BlobStore:
    """The store that the settings name. Raises ValueError for a URL it can't serve."""
    if not settings.storage_url:
        return FolderStore(settings.data_dir / "blobs")
    parts = urlsplit(settings.storage_url)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        raise ValueError(f"FMX_STORAGE_URL {settings.storage_url!r}: only file:///folder is served")
    return FolderStore(Path(unquote(parts.path)))
