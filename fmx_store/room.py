"""Whether there is room on the disks of this machine that a server or worker writes to."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fmx_store.settings import Settings


def find_full(settings: Settings) -> str | None:
    """What is said of the first folder whose disk has less room than the settings want, if any."""
    for folder in _folders(settings):
        free_bytes = _free_bytes(folder)
        if free_bytes is not None and free_bytes < settings.min_free_bytes:
            free, wanted = free_bytes // 1_000_000, settings.min_free_bytes // 1_000_000
            return f"{free:,} MB are free where {wanted:,} MB should be"
    return None


def _folders(settings: Settings) -> Iterator[Path]:
    """The data folder (scratch, and what is embedded), and the blobs' where that is a folder."""
    if settings.min_free_bytes > 0:
        yield settings.data_dir
        if urlsplit(settings.storage_url).scheme in {"", "file"}:
            yield settings.storage_dir


def _free_bytes(folder: Path) -> int | None:
    """Of the disk that a folder lies on, or will; None where it does not say."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
