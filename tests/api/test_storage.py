"""Files that lie in a bucket: clients are sent there, and it may be away for a while."""

import asyncio
import hashlib
import io
import time
import zipfile
from collections.abc import Generator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from faulty_s3 import FaultyStore
from http_service import Service, problem, serve
from model_files import ModelFiles
from services import Column

from fmx_client import AsyncClient, Client

BIG = bytes(range(256)) * 4096
FILES = {"empty.txt": b"", "figure.png": b"\x89PNG", "odd/näme 1.csv": BIG}
LEASE_SECONDS = 600.0


@pytest.fixture
def service(
    embedded_column: Column, faulty_s3_storage: dict[str, str], tmp_path: Path
) -> Generator[Service]:
    """A server whose files are in a bucket behind the proxy."""
    column = embedded_column.on(faulty_s3_storage)
    with serve(column.settings(port=0, lease_seconds=LEASE_SECONDS), tmp_path) as running:
        yield running


@pytest.fixture
def job_id(service: Service) -> str:
    """A job that has succeeded and left files."""
    return service.run_to_success(job_files=FILES)


def path_of(job_id: str, name: str = "odd/näme 1.csv") -> str:
    return f"/v1/jobs/{job_id}/artifacts/{name}"


def sent_to(answer: httpx.Response) -> str:
    """Where an answer sends its client."""
    assert answer.status_code == 307, answer.text
    return answer.headers["location"]


def test_a_download_is_sent_to_the_bucket(
    service: Service, job_id: str, faulty_s3: FaultyStore
) -> None:
    answer = service.client.get(path_of(job_id))
    url = sent_to(answer)
    assert url.startswith(faulty_s3.url)
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["300"]
    assert answer.headers["etag"] == f'"{hashlib.sha256(BIG).hexdigest()}"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.content == b""
    found = httpx.get(url)
    assert found.content == BIG
    assert found.headers["content-type"] == "text/csv; charset=utf-8"
    assert found.headers["content-disposition"] == (
        "attachment; filename=\"n_me 1.csv\"; filename*=UTF-8''n%C3%A4me%201.csv"
    )


def test_a_part_comes_from_the_bucket_too(service: Service, job_id: str) -> None:
    asked = {"Range": "bytes=10-19"}
    answer = service.client.get(path_of(job_id), headers=asked, follow_redirects=True)
    assert len(answer.history) == 1
    assert (answer.status_code, answer.content) == (206, BIG[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(BIG)}"


@pytest.mark.parametrize(
    "asked", [{"Range": "bytes=5-3"}, {"Range": "bytes=0-1", "If-Range": '"x"'}]
)
def test_a_range_that_does_not_count_gives_the_whole_file(
    service: Service, job_id: str, asked: dict[str, str]
) -> None:
    """The bucket would read the header in its own way, so the file comes through the server."""
    answer = service.client.get(path_of(job_id), headers=asked)
    assert (answer.status_code, answer.content) == (200, BIG)


@pytest.mark.parametrize("asked", ["bytes=1048576-", "bytes=0-1,3-4"])
def test_a_range_that_can_not_be_served_is_416(service: Service, job_id: str, asked: str) -> None:
    answer = service.client.get(path_of(job_id), headers={"Range": asked})
    assert answer.status_code == 416
    empty = service.client.get(path_of(job_id, "empty.txt"), headers={"Range": "bytes=0-"})
    problem(empty, 416, "range_not_satisfiable")


def test_what_needs_no_bytes_needs_no_bucket(
    service: Service, job_id: str, faulty_s3: FaultyStore
) -> None:
    faulty_s3.befall("busy")
    head = service.client.head(path_of(job_id))
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(BIG)))
    assert head.headers["content-type"] == "text/csv; charset=utf-8"
    known = {"If-None-Match": head.headers["etag"]}
    assert service.client.get(path_of(job_id), headers=known).status_code == 304
    sent_to(service.client.get(path_of(job_id)))


def test_what_a_browser_shows_comes_from_the_server(service: Service, job_id: str) -> None:
    """Its policy allows pictures of its own origin alone."""
    asked = path_of(job_id, "figure.png")
    answer = service.client.get(asked, params={"inline": "true"})
    assert (answer.status_code, answer.content) == (200, FILES["figure.png"])
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


def test_an_archive_comes_from_the_server(service: Service, job_id: str) -> None:
    answer = service.client.get(f"/v1/jobs/{job_id}/artifacts.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


def test_a_server_that_sends_no_one_elsewhere(
    embedded_column: Column, s3_storage: dict[str, str], tmp_path: Path
) -> None:
    settings = embedded_column.on(s3_storage).settings(port=0, storage_redirects="never")
    with serve(settings, tmp_path) as service:
        job_id = service.run_to_success(job_files=FILES)
        answer = service.client.get(path_of(job_id), headers={"Range": "bytes=10-19"})
        assert (answer.status_code, answer.content) == (206, BIG[10:20])
        assert service.client.get(path_of(job_id)).content == BIG


def test_the_client_downloads_from_the_bucket_and_keeps_its_key_to_itself(
    service: Service, job_id: str, faulty_s3: FaultyStore, tmp_path: Path
) -> None:
    """A broken download goes on at another URL, and the file is verified by the server's tag."""
    faulty_s3.asked.clear()
    faulty_s3.befall("answer cut off", method="GET", times=1)
    headers = {"Authorization": "Bearer fmx_secret"}
    with Client(service.server.url, headers=headers) as client:
        listed = {artifact.path: artifact for artifact in client.artifacts(job_id)}
        target = client.download(job_id, listed["odd/näme 1.csv"], tmp_path / "file")
        assert target.read_bytes() == BIG
        client.download(job_id, listed["odd/näme 1.csv"], target)  # unchanged: 304
    ranges = [asked.headers.get("Range") for asked in faulty_s3.asked]
    assert ranges == [None, f"bytes={len(BIG) // 2}-"]
    for asked in faulty_s3.asked:
        assert "fmx_secret" not in str(asked)
        assert "Authorization" not in asked.headers


async def download(url: str, job_id: str, target: Path) -> None:
    async with AsyncClient(url, headers={"Authorization": "Bearer fmx_secret"}) as client:
        await client.download(job_id, "odd/näme 1.csv", target)


def test_the_async_client_does_too(
    service: Service, job_id: str, faulty_s3: FaultyStore, tmp_path: Path
) -> None:
    faulty_s3.asked.clear()
    asyncio.run(download(service.server.url, job_id, tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == BIG
    assert ["Authorization" in asked.headers for asked in faulty_s3.asked] == [False]


def test_models_are_read_from_the_bucket_once(
    service: Service, made: ModelFiles, faulty_s3: FaultyStore
) -> None:
    job_id = service.run_to_success(files=made.files, model=True)
    (model_id,) = service.get(f"/v1/jobs/{job_id}")["models"]
    path, body = f"/v1/models/{model_id}/predict", {"test_rows": [0, 1]}
    faulty_s3.befall("busy")
    answer = service.client.post(path, json=body)
    problem(answer, 503, "storage_unavailable")
    assert answer.headers["retry-after"]
    faulty_s3.heal()
    expected = service.client.post(path, json=body)
    assert expected.status_code == 200, expected.text
    faulty_s3.befall("busy")
    assert service.client.post(path, json=body).json() == expected.json()


def test_a_bucket_that_is_away_is_said_and_heals(
    service: Service, job_id: str, faulty_s3: FaultyStore
) -> None:
    inline = f"{path_of(job_id, 'figure.png')}?inline=true"
    archive = f"/v1/jobs/{job_id}/artifacts.zip"
    faulty_s3.befall("busy")
    for path in (inline, archive):
        answer = service.client.get(path)
        problem(answer, 503, "storage_unavailable")
        assert answer.headers["retry-after"] == "2"
    ready = service.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["storage"]["ok"]) == (503, False)
    assert service.submit()["state"] == "queued"
    faulty_s3.heal()
    for path in (inline, archive, "/readyz"):
        assert service.client.get(path).status_code == 200


def test_a_bucket_that_never_answers_is_noticed_in_time(
    service: Service, faulty_s3: FaultyStore
) -> None:
    faulty_s3.befall("no answer")
    began = time.monotonic()
    ready = service.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["storage"]["ok"]) == (503, False)
    assert time.monotonic() - began < 6


def test_a_job_is_deleted_while_the_bucket_is_away(
    service: Service, job_id: str, faulty_s3: FaultyStore
) -> None:
    """Its files go when the bucket is back."""
    faulty_s3.befall("busy")
    assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    problem(service.client.get(f"/v1/jobs/{job_id}"), 404, "not_found")
    faulty_s3.heal()
    assert len(list(service.blobs.digests())) == len(FILES)
    other = service.run_to_success(job_files={"other.txt": b"other"})
    assert service.client.delete(f"/v1/jobs/{other}").status_code == 204
    assert len(list(service.blobs.digests())) == len(FILES), "the other's are gone at once"


def test_a_file_that_has_gone_from_the_bucket_is_the_servers_fault(
    service: Service, job_id: str
) -> None:
    service.blobs.delete(hashlib.sha256(FILES["figure.png"]).hexdigest())
    answer = service.client.get(path_of(job_id, "figure.png"), params={"inline": "true"})
    problem(answer, 500, "blob_damaged")
