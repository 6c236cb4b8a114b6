"""torchvision's real download against a server on this machine that has the real files."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision.datasets import FashionMNIST

from fmx_ml.data import fashion_mnist
from fmx_ml.data.download import DownloadError, download
from fmx_ml.data.fashion_mnist import CHECKSUMS, load
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import DataUnavailableError

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
SILENCE_SECONDS = 0.5


def answer_whole(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


class Mirror:
    """Serves the files as `answer` says."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.answer: Answer = answer_whole
        self.closing = threading.Event()
        self.num_requests = 0
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.num_requests += 1
                with contextlib.suppress(ConnectionError):
                    mirror.answer(self, files[self.path.removeprefix("/")])

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirror(release_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Generator[Mirror]:
    served = Mirror(release_files)
    monkeypatch.setattr(FashionMNIST, "mirrors", [served.url])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield served
    served.close()


@pytest.fixture
def only_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSources:
    monkeypatch.setattr(fashion_mnist, "SYSTEM_DIR", tmp_path / "system")
    return DataSources(None, tmp_path / "cache", timeout_seconds=5)


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name.startswith(".download-")]


def test_download_is_verified_kept_and_used_again(
    mirror: Mirror, only_network: DataSources
) -> None:
    first = load(only_network)
    assert "torchvision's download" in first.source
    assert first.checksums == CHECKSUMS
    assert leftovers(only_network.cache_dir) == []
    requests = mirror.num_requests
    assert load(only_network).source == str(only_network.cache_dir)
    assert mirror.num_requests == requests


def test_a_wrong_checksum_is_refused(mirror: Mirror, only_network: DataSources) -> None:
    def answer_damaged(request: BaseHTTPRequestHandler, content: bytes) -> None:
        answer_whole(request, content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])

    mirror.answer = answer_damaged
    with pytest.raises(DataUnavailableError, match="corrupted"):
        load(only_network)
    assert not (only_network.cache_dir / "FashionMNIST").exists()
    assert leftovers(only_network.cache_dir) == []


def wait(mirror: Mirror) -> None:
    mirror.closing.wait(10)


def check_given_up(sources: DataSources) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"nothing arrived for 0\.5 seconds|timed out"):
        download(sources.cache_dir, SILENCE_SECONDS)
    assert SILENCE_SECONDS <= time.monotonic() - started < SILENCE_SECONDS + 3
    assert not (sources.cache_dir / "FashionMNIST").exists()
    assert socket.getdefaulttimeout() is None


def test_a_silent_server_is_given_up(mirror: Mirror, only_network: DataSources) -> None:
    mirror.answer = lambda _request, _content: wait(mirror)
    check_given_up(only_network)


def test_a_server_that_falls_silent_is_given_up(mirror: Mirror, only_network: DataSources) -> None:
    def answer_half(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        request.wfile.flush()
        wait(mirror)

    mirror.answer = answer_half
    check_given_up(only_network)


def test_a_slow_server_is_waited_for(mirror: Mirror, only_network: DataSources) -> None:
    """Longer than the timeout altogether, but never silent for so long."""

    def answer_slowly(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        step = len(content) // 5 + 1
        for start in range(0, len(content), step):
            request.wfile.write(content[start : start + step])
            request.wfile.flush()
            time.sleep(0.11)

    mirror.answer = answer_slowly
    download(only_network.cache_dir, 2.0)
    raw = only_network.cache_dir / "FashionMNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(CHECKSUMS)


def test_a_missing_server_is_said(
    only_network: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataUnavailableError, match=r"download: .*refused"):
        load(only_network)


def test_without_torchvision_that_is_said(
    only_network: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DataUnavailableError, match="torchvision can't be used"):
        load(only_network)


def test_an_unwritable_cache_is_said(only_network: DataSources) -> None:
    only_network.cache_dir.write_text("a file where a folder should be")
    with pytest.raises(DataUnavailableError, match=r"download: .*File exists"):
        load(only_network)
