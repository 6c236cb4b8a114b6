"""Files of a job: listed, whole, in part, unchanged, and all in one archive."""

import hashlib
import io
import zipfile
from urllib.parse import quote

import httpx
import pytest
from http_service import Service, pointers, problem

BIG = bytes(range(256)) * 4096  # 1 MiB: more than one chunk
FILES = {"model.json": b'{"a": 1}', "big.bin": BIG, "history.csv": b"epoch\r\n1\r\n"}
JOB_FILES = {
    "figure-1-loss.png": b"\x89PNG",
    "figure-1-loss.svg": b"<svg><script>alert(1)</script></svg>",
    "page.html": b"<script>alert(1)</script>",
    "notes.txt": b"hello",
    "empty.txt": b"",
    'odd/näme "1" #2?.txt': b"odd",
    "odd/\x01 \x7f.txt": b"line",
}


@pytest.fixture(scope="module")
def job_id(shared: Service) -> str:
    """A job that has succeeded and left files."""
    return shared.run_to_success(files=FILES, job_files=JOB_FILES)


def path_of(job_id: str, name: str) -> str:
    return f"/v1/jobs/{job_id}/artifacts/{quote(name)}"


def test_files_are_listed_by_path(shared: Service, job_id: str) -> None:
    page = shared.get(f"/v1/jobs/{job_id}/artifacts")
    content = {**{f"seed-0/{name}": data for name, data in FILES.items()}, **JOB_FILES}
    assert [item["path"] for item in page["items"]] == sorted(content)
    assert page["next_cursor"] is None
    for item in page["items"]:
        data = content[item["path"]]
        assert item["size_bytes"] == len(data)
        assert item["sha256"] == hashlib.sha256(data).hexdigest()
        assert item["run"] == ("seed-0" if item["path"].startswith("seed-0/") else None)
        assert item["created_at"].endswith("Z")
        assert shared.client.get(item["links"]["self"]).content == data


def test_lists_of_files_are_paged(column_service: Service) -> None:
    service = column_service
    job_id = service.run_to_success(job_files={f"f-{name}.txt": b"x" for name in "dbéaBc"})
    path = f"/v1/jobs/{job_id}/artifacts"
    everything = service.get(path)["items"]
    found, cursor = [], None
    while cursor or not found:
        page = service.get(path, limit=2, **({"cursor": cursor} if cursor else {}))
        found += page["items"]
        cursor = page["next_cursor"]
    assert found == everything
    assert len(found) == 6


@pytest.mark.parametrize("cursor", ["=", "a", "\u00e9", "_w"])
def test_a_cursor_of_nonsense(shared: Service, job_id: str, cursor: str) -> None:
    answer = shared.client.get(f"/v1/jobs/{job_id}/artifacts", params={"cursor": cursor})
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?cursor"]


def test_a_file_comes_whole_and_safe(shared: Service, job_id: str) -> None:
    answer = shared.client.get(path_of(job_id, "seed-0/big.bin"))
    assert (answer.status_code, answer.content) == (200, BIG)
    headers = answer.headers
    assert headers["content-length"] == str(len(BIG))
    assert headers["etag"] == f'"{hashlib.sha256(BIG).hexdigest()}"'
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith('attachment; filename="big.bin"')


@pytest.mark.parametrize(
    ("name", "media_type", "is_shown"),
    [
        ("figure-1-loss.png", "image/png", True),
        ("notes.txt", "text/plain; charset=utf-8", True),
        ("seed-0/model.json", "application/json", True),
        ("seed-0/history.csv", "text/csv; charset=utf-8", True),
        ("figure-1-loss.svg", "image/svg+xml", False),
        ("page.html", "application/octet-stream", False),
        ("seed-0/big.bin", "application/octet-stream", False),
    ],
)
def test_only_harmless_types_are_shown(
    shared: Service, job_id: str, name: str, media_type: str, is_shown: bool
) -> None:
    path = path_of(job_id, name)
    answer = shared.client.get(path, params={"inline": "true"})
    assert answer.headers["content-type"].removesuffix("; charset=utf-8") == (
        media_type.removesuffix("; charset=utf-8")
    )
    kind = answer.headers["content-disposition"].partition(";")[0]
    assert kind == ("inline" if is_shown else "attachment")
    answer = shared.client.get(path)
    assert answer.headers["content-disposition"].startswith("attachment;")


def test_an_odd_name_is_told_in_full(shared: Service, job_id: str) -> None:
    answer = shared.client.get(path_of(job_id, 'odd/näme "1" #2?.txt'))
    assert answer.content == b"odd"
    assert answer.headers["content-disposition"] == (
        'attachment; filename="n_me _1_ #2?.txt"; '
        "filename*=UTF-8''n%C3%A4me%20%221%22%20%232%3F.txt"
    )


def test_control_characters_stay_out_of_headers(shared: Service, job_id: str) -> None:
    answer = shared.client.get(path_of(job_id, "odd/\x01 \x7f.txt"))
    assert answer.content == b"line"
    assert 'filename="_ _.txt"' in answer.headers["content-disposition"]


def test_an_unchanged_file_is_304(shared: Service, job_id: str) -> None:
    path = path_of(job_id, "notes.txt")
    etag = shared.client.get(path).headers["etag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = shared.client.get(path, headers={"If-None-Match": known, "Range": "bytes=0-1"})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    answer = shared.client.get(path, headers={"If-None-Match": '"x"'})
    assert (answer.status_code, answer.content) == (200, b"hello")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=500000-999999", 500_000, 1_000_000),
        ("bytes=1048575-", 1_048_575, 1_048_576),
        ("bytes=-1", 1_048_575, 1_048_576),
        ("bytes=-99999999", 0, 1_048_576),
        ("bytes=10-99999999", 10, 1_048_576),
        ("BYTES = 3-4", 3, 5),
    ],
)
def test_a_part_of_a_file(shared: Service, job_id: str, asked: str, start: int, end: int) -> None:
    answer = shared.client.get(path_of(job_id, "seed-0/big.bin"), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, BIG[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BIG)}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"]


@pytest.mark.parametrize("asked", ["bytes=1048576-", "bytes=99999999-999999999", "bytes=-0"])
def test_a_part_beyond_the_file_is_416(shared: Service, job_id: str, asked: str) -> None:
    answer = shared.client.get(path_of(job_id, "seed-0/big.bin"), headers={"Range": asked})
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(BIG)}"


def test_a_part_of_an_empty_file_is_416(shared: Service, job_id: str) -> None:
    path = path_of(job_id, "empty.txt")
    assert shared.client.get(path).content == b""
    problem(shared.client.get(path, headers={"Range": "bytes=0-"}), 416, "range_not_satisfiable")


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=" + ",".join(["0-0"] * 1000)])
def test_several_parts_are_416(shared: Service, job_id: str, asked: str) -> None:
    answer = shared.client.get(path_of(job_id, "seed-0/big.bin"), headers={"Range": asked})
    problem(answer, 416, "several_ranges")


@pytest.mark.parametrize(
    "asked",
    ["", "bytes", "bytes=", "bytes=-", "bytes=5-3", "bytes=a-b", "lines=0-1", "bytes=1-2-3",
     "bytes=" + "9" * 5000 + "-"],
)  # fmt: skip
def test_what_is_no_range_is_ignored(shared: Service, job_id: str, asked: str) -> None:
    answer = shared.client.get(path_of(job_id, "notes.txt"), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, b"hello")


def test_a_part_only_of_the_known_file(shared: Service, job_id: str) -> None:
    path = path_of(job_id, "notes.txt")
    etag = shared.client.get(path).headers["etag"]
    for if_range, expected in ((etag, b"he"), ('"x"', b"hello"), (f"W/{etag}", b"hello")):
        headers = {"Range": "bytes=0-1", "If-Range": if_range}
        assert shared.client.get(path, headers=headers).content == expected


def test_head_of_a_file(shared: Service, job_id: str) -> None:
    path = path_of(job_id, "seed-0/big.bin")
    got = shared.client.get(path).headers
    answer = shared.client.head(path, headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges", "content-disposition"):
        assert answer.headers[name] == got[name]


@pytest.mark.parametrize(
    "name",
    ["nothing", "seed-0", "seed-0/", "../model.json", "seed-0/../notes.txt", "/etc/passwd",
     "notes.txt\0", "notes.txt/", "%2e%2e%2fnotes.txt", "x" * 5000, "\ufffd"],
)  # fmt: skip
def test_a_path_that_is_no_artifact(shared: Service, job_id: str, name: str) -> None:
    answer = shared.client.get(path_of(job_id, name).replace("../", "%2E%2E%2F"))
    problem(answer, 404, "not_found")


def test_a_path_that_is_no_text(column_service: Service) -> None:
    job_id = column_service.submit()["id"]
    answer = column_service.client.get(f"/v1/jobs/{job_id}/artifacts/%00%ff%fe")
    problem(answer, 404, "not_found")


@pytest.mark.usefixtures("job_id")
def test_a_file_of_another_job_is_not_found(shared: Service) -> None:
    other = shared.submit()["id"]
    shared.client.post(f"/v1/jobs/{other}/cancel")
    assert shared.get(f"/v1/jobs/{other}/artifacts")["items"] == []
    problem(shared.client.get(path_of(other, "notes.txt")), 404, "not_found")


def test_a_file_that_has_gone_is_the_servers_fault(service: Service) -> None:
    job_id = service.run_to_success(job_files={"a.txt": b"a"})
    service.blobs.delete(hashlib.sha256(b"a").hexdigest())
    problem(service.client.get(path_of(job_id, "a.txt")), 500, "blob_damaged")


def read_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_archive_has_every_file(shared: Service, job_id: str) -> None:
    with shared.client.stream("GET", f"/v1/jobs/{job_id}/artifacts.zip") as answer:
        assert answer.status_code == 200
        pieces = list(answer.iter_raw())
    content = b"".join(pieces)
    assert len(pieces) > 1
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-disposition"] == f'attachment; filename="{job_id}.zip"'
    expected = {**{f"seed-0/{name}": data for name, data in FILES.items()}, **JOB_FILES}
    assert read_zip(content) == expected
    head = shared.client.head(f"/v1/jobs/{job_id}/artifacts.zip")
    assert head.headers["content-length"] == str(len(content))


def test_an_archive_of_some_files(shared: Service, job_id: str) -> None:
    path = f"/v1/jobs/{job_id}/artifacts.zip"
    answer = shared.client.get(path, params={"prefix": "figure-1"})
    assert set(read_zip(answer.content)) == {"figure-1-loss.png", "figure-1-loss.svg"}
    problem(shared.client.get(path, params={"prefix": "figure-9"}), 404, "not_found")


def test_an_archive_of_no_files(service: Service) -> None:
    answer = service.client.get(f"/v1/jobs/{service.submit()['id']}/artifacts.zip")
    assert read_zip(answer.content) == {}


def test_an_archive_breaks_off_where_a_file_has_gone(service: Service) -> None:
    """So that no client takes half of it for the whole."""
    job_id = service.run_to_success(job_files={"a.bin": BIG, "b.txt": b"b"})
    service.blobs.delete(hashlib.sha256(b"b").hexdigest())
    with pytest.raises(httpx.RemoteProtocolError):
        service.client.get(f"/v1/jobs/{job_id}/artifacts.zip")
    assert service.client.get("/healthz").is_success
