"""torchvision's own download of Fashion-MNIST, bounded by how long it may be silent."""

import http.client
import os
import socket
import tempfile
import threading
import time
import zlib
from pathlib import Path

_LOOK_SECONDS = 0.1


class DownloadError(Exception):
    """The download did not end well; nothing was put into the cache."""


def download(cache_dir: Path, timeout_seconds: float) -> None:
    """Puts the files into `cache_dir/FashionMNIST/raw`, their MD5 checked by torchvision.

    Raises:
        DownloadError: no answer, silence for timeout_seconds, a wrong checksum, or no room.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".download-", dir=cache_dir, ignore_cleanup_errors=True
        ) as folder:
            _fetch(Path(folder), timeout_seconds)
            _move(Path(folder) / "FashionMNIST" / "raw", cache_dir / "FashionMNIST" / "raw")
    except OSError as error:
        raise DownloadError(str(error)) from error


def _fetch(folder: Path, timeout_seconds: float) -> None:
    """Downloads in a thread and watches the folder grow.

    torchvision sets no timeout of its own, and a socket's does not cover the look-up of a name:
    so the thread is given up where nothing arrives, and the socket's timeout ends it later.
    """
    try:
        from torchvision.datasets import FashionMNIST  # noqa: PLC0415 - it imports torch: seconds
    except (ImportError, RuntimeError) as error:  # RuntimeError: it does not fit the torch there is
        raise DownloadError(f"torchvision can't be used: {error}") from error

    failures: list[Exception] = []

    def work() -> None:
        try:
            FashionMNIST(root=folder, train=False, download=True)
        except (OSError, RuntimeError, EOFError, http.client.HTTPException, zlib.error) as error:
            failures.append(error)

    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_seconds)
    try:
        thread = threading.Thread(target=work, name="fashion-mnist-download", daemon=True)
        thread.start()
        _watch(thread, folder, timeout_seconds)
    finally:
        socket.setdefaulttimeout(previous)
    if failures:
        raise DownloadError(" ".join(str(failures[0]).split())) from failures[0]


def _watch(thread: threading.Thread, folder: Path, timeout_seconds: float) -> None:
    size, changed_at = -1, time.monotonic()
    while thread.is_alive():
        thread.join(_LOOK_SECONDS)
        now, new_size = time.monotonic(), _size_bytes(folder)
        if new_size != size:
            size, changed_at = new_size, now
        elif now - changed_at > timeout_seconds:
            raise DownloadError(f"nothing arrived for {timeout_seconds:g} seconds")


def _size_bytes(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            total += os.stat(os.path.join(root, name)).st_size  # noqa: PTH116, PTH118
    return total


def _move(source: Path, target: Path) -> None:
    """Puts complete files in place one by one, so that a reader never sees half of one."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*-ubyte"):
        file.replace(target / file.name)
