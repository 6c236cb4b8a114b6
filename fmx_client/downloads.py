"""Files that come over HTTP: written under another name, checked, then put in place."""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self
from uuid import uuid4

from fmx_client.errors import DownloadError


def place_in(folder: Path, path: str) -> Path:
    """Where an artifact goes below a folder. Raises DownloadError for a path that leaves it."""
    parts = PurePosixPath(path).parts
    if not parts or any(p in {"..", "/", "//"} or set(p) & set("\\:\0") for p in parts):
        msg = f"the artifact path {path!r} leaves the folder it belongs into"
        raise DownloadError(msg)
    return folder.joinpath(*parts)


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Puts a zip's files below a folder, then removes it. Raises DownloadError for a bad one."""
    written: list[Path] = []
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                target = place_in(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(opened.read(name))
                written.append(target)
    except zipfile.BadZipFile as error:
        raise DownloadError(f"the archive is damaged: {error}") from error
    finally:
        archive.unlink()
    return written


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _ReceivedFile:
    """A file that is written beside its place, in the same folder, and then renamed."""

    def __init__(self, target: Path) -> None:
        """The folder of the target is made."""
        self.target = target
        self._part: Path | None = None
        self._file: BinaryIO | None = None
        target.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, chunk: bytes) -> None:
        self._require_open().write(chunk)

    def _open(self, part: Path, *, append: bool = False) -> None:
        self._close()
        self._part, self._file = part, part.open("ab" if append else "wb")

    def _require_open(self) -> BinaryIO:
        if self._file is None:
            raise DownloadError(f"{self.target.name}: no bytes came")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _settle(self) -> Path:
        """The part, complete on the disk."""
        file = self._require_open()
        file.flush()
        os.fsync(file.fileno())
        self._close()
        assert self._part is not None  # noqa: S101 - an open file has a path
        return self._part


class VerifiedFile(_ReceivedFile):
    """An artifact: its ETag is its sha256, so a broken download goes on where it ended.

    A part that was begun is kept beside its place, named after the sha256 it shall have.
    """

    def __init__(self, target: Path, announced: str | None = None) -> None:
        """Announced is the sha256 that a listing gave, if one was asked for."""
        super().__init__(target)
        self._announced = announced
        self._present = _sha256_of(target) if target.is_file() else None
        self._sha256 = ""
        name = hashlib.sha256(target.name.encode(errors="surrogateescape")).hexdigest()[:12]
        self._prefix = f".fmx-{name}-"

    def request_headers(self) -> dict[str, str]:
        """Nothing if the target is the same file already, else the bytes that are missing."""
        self._close()
        headers: dict[str, str] = {}
        if self._present is not None:
            headers["If-None-Match"] = f'"{self._present}"'
        begun = [part for part in self._parts() if part.stat().st_size]
        if begun:
            sha256 = begun[0].name.removeprefix(self._prefix).removesuffix(".part")
            headers["Range"] = f"bytes={begun[0].stat().st_size}-"
            headers["If-Range"] = f'"{sha256}"'
        return headers

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._sha256 = headers.get("etag", "").strip('"')
        part = self.target.with_name(f"{self._prefix}{self._sha256}.part")
        if not _is_sha256(self._sha256):
            raise DownloadError(f"{self.target.name}: the server sent no sha256 to check it by")
        if self._announced not in {None, self._sha256}:
            raise DownloadError(f"{self.target.name} has changed since it was listed: list it anew")
        if status == 206:  # noqa: PLR2004 - partial content
            begun = part.stat().st_size if part.exists() else 0
            if not headers.get("content-range", "").startswith(f"bytes {begun}-"):
                raise DownloadError(f"{self.target.name}: the server sent another part of it")
            self._open(part, append=True)
        else:
            self.discard()
            self._open(part)

    def finish(self) -> Path:
        """Puts the file in place. Raises DownloadError where its bytes are not the announced."""
        part = self._settle()
        if _sha256_of(part) != self._sha256:
            part.unlink()
            raise DownloadError(f"{self.target.name}: its sha256 is not the one it should have")
        return part.replace(self.target)

    def discard(self) -> None:
        """Removes what was begun."""
        self._close()
        for part in self._parts():
            part.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        return sorted(self.target.parent.glob(f"{self._prefix}*.part"))


def _is_sha256(text: str) -> bool:
    return len(text) == hashlib.sha256().digest_size * 2 and not set(text) - set("0123456789abcdef")


class ArchiveFile(_ReceivedFile):
    """A zip that the server makes while it sends it."""

    def request_headers(self) -> dict[str, str]:
        return {}

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        del status, headers
        if self._part is None:
            self._part = self.target.with_name(f".fmx-{uuid4().hex}.part")
        self._open(self._part)

    def finish(self) -> Path:
        """Puts the file in place. Raises DownloadError where it is no zip."""
        part = self._settle()
        if not zipfile.is_zipfile(part):
            raise DownloadError(f"{self.target.name}: what came is no zip file")
        return part.replace(self.target)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
