"""Local copies of blobs that lie elsewhere, the least recently used removed when they are many."""

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import BinaryIO

from fmx_store.blobs import CHUNK_BYTES, INCOMING_SECONDS, digest, is_digest
from fmx_store.errors import BlobError


class Copies:
    """A folder of copies that any number of processes may share.

    Each user gets a name of its own for a copy (a hard link), so that removing the least used ones
    takes no file from anyone. Every copy is verified whenever it is handed out.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Makes nothing yet. The bound may be exceeded while a copy is being made."""
        self._folder, self._max_bytes = folder, max_bytes

    def place(self, sha256: str, to: Path) -> bool:
        """Puts a copy at a path if there is one, as it should be. Raises OSError."""
        kept = self._folder / sha256
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        try:
            _link(kept, to)
        except FileNotFoundError:
            return False
        if digest(to)[0] != sha256:  # its disk has damaged it, or whoever got it has written to it
            to.unlink()
            kept.unlink(missing_ok=True)
            return False
        with contextlib.suppress(FileNotFoundError):
            os.utime(kept)
        return True

    def add(self, sha256: str, source: BinaryIO, to: Path) -> None:
        """Makes a copy at a path and keeps it. Raises BlobError where the bytes are others."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"incoming-{uuid.uuid4().hex}"
        try:
            if _write(source, temporary) != sha256:
                raise BlobError(f"the contents of blob {sha256} have changed")
            _link(temporary, to)
            temporary.replace(self._folder / sha256)
        finally:
            temporary.unlink(missing_ok=True)
        self._trim()

    def _trim(self) -> None:
        """Removes the least recently used down to the bound, and what was left half made."""
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if is_digest(path.name):
                    found.append((stat.st_mtime, stat.st_size, path))
                elif stat.st_mtime < time.time() - INCOMING_SECONDS:
                    path.unlink()
        over = sum(size_bytes for _, size_bytes, _ in found) - self._max_bytes
        for _, size_bytes, path in sorted(found):
            if over <= 0:
                return
            path.unlink(missing_ok=True)
            over -= size_bytes


def _write(source: BinaryIO, target: Path) -> str:
    """Copies to a new file; answers the sha256 of what was copied."""
    sha256 = hashlib.sha256()
    with target.open("xb") as written:
        while chunk := source.read(CHUNK_BYTES):
            sha256.update(chunk)
            written.write(chunk)
    return sha256.hexdigest()


def _link(existing: Path, to: Path) -> None:
    """A second name for a file; where links are not possible, a copy. Raises FileNotFoundError."""
    try:
        to.hardlink_to(existing)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(existing, to)
