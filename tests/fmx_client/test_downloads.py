"""Downloads: whole, broken off, resumed, damaged, unchanged."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from stand_in import URL, problem

from fmx_client import Client, client, errors
from fmx_client.downloads import place_in
from fmx_client.types import Artifact

CONTENT = os.urandom(50_000)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Broken(httpx.SyncByteStream):
    """Some bytes, then a connection that breaks."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("Connection reset by peer")


class FileServer:
    """Serves one file with ranges, as the contract says; breaks off where it is told to."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content, self.announced = content, _sha256(content)
        self.break_after: list[int] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        headers = {"ETag": f'"{self.announced}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return httpx.Response(304, headers=headers)
        start, status = 0, 200
        if request.headers.get("If-Range") == headers["ETag"]:
            start, status = int(request.headers["Range"].removeprefix("bytes=")[:-1]), 206
            if start >= len(self.content):
                return problem(416, "range_not_satisfiable")
            headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        rest = self.content[start:]
        if self.break_after:
            return httpx.Response(
                status, headers=headers, stream=_Broken(rest[: self.break_after.pop(0)])
            )
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(rest))

    def client(self, retries: int = 3) -> Client:
        return Client(URL, transport=httpx.MockTransport(self), retries=retries)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.time, "sleep", lambda _: None)


def _parts(folder: Path) -> list[Path]:
    return list(folder.glob(".fmx-*"))


def test_a_file_arrives_whole_in_a_new_folder(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.onnx"
    with FileServer().client() as asking:
        assert asking.download("x", "seed-0/model.onnx", target) == target
    assert target.read_bytes() == CONTENT
    assert _parts(target.parent) == []


def test_an_empty_file_arrives(tmp_path: Path) -> None:
    with FileServer(b"").client() as asking:
        assert asking.download("x", "empty", tmp_path / "empty").read_bytes() == b""


def test_a_connection_that_breaks_goes_on_where_it_was(tmp_path: Path) -> None:
    server = FileServer()
    server.break_after = [10_000, 20_000]
    with server.client() as asking:
        asking.download("x", "f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    ranges = [request.headers.get("Range") for request in server.requests]
    assert ranges == [None, "bytes=10000-", "bytes=30000-"]


def test_a_later_call_goes_on_where_an_earlier_one_ended(tmp_path: Path) -> None:
    server = FileServer()
    server.break_after = [10_000]
    with server.client(retries=0) as asking:
        with pytest.raises(errors.ConnectionFailedError, match="the connection broke"):
            asking.download("x", "f", tmp_path / "f")
        assert not (tmp_path / "f").exists()
        assert len(_parts(tmp_path)) == 1
        asking.download("x", "f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests[-1].headers["Range"] == "bytes=10000-"
    assert _parts(tmp_path) == []


def test_a_part_of_a_file_that_has_changed_is_thrown_away(tmp_path: Path) -> None:
    server = FileServer()
    server.break_after = [10_000]
    with server.client(retries=0) as asking, pytest.raises(errors.ConnectionFailedError):
        asking.download("x", "f", tmp_path / "f")
    changed = FileServer(os.urandom(20_000))
    with changed.client() as asking:
        asking.download("x", "f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == changed.content
    assert _parts(tmp_path) == []


@pytest.mark.parametrize("rest", [b"", b"rubbish behind it"], ids=["complete", "too long"])
def test_a_part_that_is_complete_or_too_long_begins_anew(tmp_path: Path, rest: bytes) -> None:
    server = FileServer()
    server.break_after = [10_000]
    with server.client(retries=0) as asking, pytest.raises(errors.ConnectionFailedError):
        asking.download("x", "f", tmp_path / "f")
    (part,) = _parts(tmp_path)
    part.write_bytes(CONTENT + rest)
    with server.client() as asking:
        asking.download("x", "f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_part_with_other_bytes_is_found_out_and_fetched_again(tmp_path: Path) -> None:
    server = FileServer()
    server.break_after = [10_000]
    with server.client(retries=0) as asking, pytest.raises(errors.ConnectionFailedError):
        asking.download("x", "f", tmp_path / "f")
    (part,) = _parts(tmp_path)
    part.write_bytes(os.urandom(10_000))
    with server.client() as asking:
        asking.download("x", "f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_bytes_that_are_not_the_announced_ones_leave_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    server = FileServer()
    server.content = b"x" * 50_000
    with server.client() as asking, pytest.raises(errors.DownloadError, match="sha256"):
        asking.download("x", "f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert _parts(tmp_path) == []


def test_a_file_that_is_there_already_is_not_sent_again(tmp_path: Path) -> None:
    server = FileServer()
    with server.client() as asking:
        asking.download("x", "f", tmp_path / "f")
        before = (tmp_path / "f").stat().st_mtime_ns
        asking.download("x", "f", tmp_path / "f")
    assert server.requests[-1].headers["If-None-Match"] == f'"{server.announced}"'
    assert (tmp_path / "f").stat().st_mtime_ns == before


def test_what_was_listed_and_has_changed_since_is_said(tmp_path: Path) -> None:
    listed = Artifact(path="f", size_bytes=3, sha256=_sha256(b"old"), media_type="text/plain")
    with FileServer().client() as asking, pytest.raises(errors.DownloadError, match="changed"):
        asking.download("x", listed, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_names_no_sha256_is_not_trusted(tmp_path: Path) -> None:
    server = FileServer()
    server.announced = "an-mtime-and-a-size"
    with server.client() as asking, pytest.raises(errors.DownloadError, match="no sha256"):
        asking.download("x", "f", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_odd_names_are_one_path_of_the_url(tmp_path: Path) -> None:
    server = FileServer()
    with server.client() as asking:
        asking.download("x", "seed 0/a?b#c%41.png", tmp_path / "f")
    assert server.requests[0].url.raw_path == b"/v1/jobs/x/artifacts/seed%200/a%3Fb%23c%2541.png"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "", "a\\..\\x", "C:x", "a/\0"])
def test_a_path_never_leaves_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(errors.DownloadError):
        place_in(tmp_path, path)


def test_a_path_lies_in_the_folder(tmp_path: Path) -> None:
    assert place_in(tmp_path, "seed-0/figure..1.png") == tmp_path / "seed-0" / "figure..1.png"


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "a")
    return made.getvalue()


def test_an_archive_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    answers = [
        httpx.Response(200, stream=_Broken(_zip()[:20])),
        httpx.Response(200, stream=httpx.ByteStream(_zip())),
        httpx.Response(200, stream=httpx.ByteStream(_zip()[:-30])),
    ]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    with Client(URL, transport=transport) as asking:
        asking.archive("x", tmp_path / "all.zip", prefix="seed-0/")
        assert zipfile.ZipFile(tmp_path / "all.zip").read("a.txt") == b"a"
        with pytest.raises(errors.DownloadError, match="no zip"):
            asking.archive("x", tmp_path / "half.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]


def test_event_files_are_unpacked_where_they_belong(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("seed-0/events.out", b"first")
        archive.writestr("seed-1/events.out", b"second")
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../events.out", b"out")
    damaged = bytearray(made.getvalue())
    damaged[damaged.index(b"first")] ^= 1
    contents = [made.getvalue(), evil.getvalue(), bytes(damaged)]
    answers = [httpx.Response(200, stream=httpx.ByteStream(content)) for content in contents]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    logs = tmp_path / "logs"
    with Client(URL, transport=transport) as asking:
        files = asking.tensorboard("x", logs)
        assert [file.relative_to(logs).as_posix() for file in files] == [
            "seed-0/events.out",
            "seed-1/events.out",
        ]
        assert files[1].read_bytes() == b"second"
        with pytest.raises(errors.DownloadError, match="leaves the folder"):
            asking.tensorboard("x", logs)
        with pytest.raises(errors.DownloadError, match="damaged"):
            asking.tensorboard("x", logs)
    assert sorted(path.name for path in logs.iterdir()) == ["seed-0", "seed-1"]
    assert not (tmp_path / "events.out").exists()
