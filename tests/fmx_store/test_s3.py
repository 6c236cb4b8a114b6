"""A bucket whose network and store have their bad days: what is stored is right all the same."""

import base64
import errno
import hashlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from faulty_s3 import Asked, Fault, FaultyStore
from services import free_port

from fmx_store import s3
from fmx_store.blobs import digest, open_store
from fmx_store.errors import BlobError, StorageUnavailableError
from fmx_store.s3 import S3Store
from fmx_store.settings import Settings

PART_BYTES = 5 * 1024 * 1024  # the smallest that the protocol allows


def open_at(storage: dict[str, str], folder: Path, **values: Any) -> S3Store:
    """The store that the variables name."""
    named = {name.removeprefix("FMX_").lower(): value for name, value in storage.items()}
    store = open_store(Settings.model_validate({"data_dir": folder, **named, **values}))
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def store(faulty_s3_storage: dict[str, str], tmp_path: Path) -> S3Store:
    """An empty store behind the proxy."""
    return open_at(faulty_s3_storage, tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(300_000))
    return path


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is sent in three parts."""
    monkeypatch.setattr(s3, "PART_BYTES", PART_BYTES)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2 * PART_BYTES + 5))
    return path


def read(store: S3Store, sha256: str) -> bytes:
    with store.open(sha256) as file:
        return file.read()


def find(faulty: FaultyStore, method: str) -> list[Asked]:
    return [asked for asked in faulty.asked if asked.method == method]


def test_a_put_is_conditional_and_brings_its_checksum(
    store: S3Store, faulty_s3: FaultyStore, source: Path
) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    [put] = find(faulty_s3, "PUT")
    assert put.headers["If-None-Match"] == "*"
    told = base64.b64encode(bytes.fromhex(sha256)).decode()
    assert put.headers["x-amz-checksum-sha256"] == told
    assert put.headers["X-Amz-Content-SHA256"] == sha256
    assert put.body == source.read_bytes()
    store.put(source, sha256)
    assert faulty_s3.count("PUT") == 1, "what is there is not sent again"


def test_each_part_and_the_whole_are_verified(
    store: S3Store, faulty_s3: FaultyStore, large: Path
) -> None:
    sha256, _ = digest(large)
    store.put(large, sha256)
    parts = find(faulty_s3, "PUT")
    assert [len(part.body) for part in parts] == [PART_BYTES, PART_BYTES, 5]
    for part in parts:
        told = base64.b64encode(hashlib.sha256(part.body).digest()).decode()
        assert part.headers["x-amz-checksum-sha256"] == told
    complete = find(faulty_s3, "POST")[-1]
    assert complete.headers["If-None-Match"] == "*"
    assert read(store, sha256) == large.read_bytes()


@pytest.mark.parametrize("fault", ["busy", "cut off", "answer lost"])
@pytest.mark.parametrize(
    ("file", "method"), [("source", "PUT"), ("source", "HEAD"), ("large", "PUT"), ("large", "POST")]
)
def test_an_upload_outlasts_a_fault(
    store: S3Store,
    faulty_s3: FaultyStore,
    request: pytest.FixtureRequest,
    fault: Fault,
    method: str,
    file: str,
) -> None:
    """An answer that is lost may have made what the next try finds there."""
    path: Path = request.getfixturevalue(file)
    sha256, _ = digest(path)
    faulty_s3.befall(fault, method=method, times=1)
    store.put(path, sha256)
    assert read(store, sha256) == path.read_bytes()
    assert list(store.digests()) == [sha256]


def test_two_puts_that_meet_store_one_blob(
    store: S3Store, faulty_s3: FaultyStore, faulty_s3_storage: dict[str, str], source: Path
) -> None:
    """Another worker stores the same between our look and our put."""
    sha256, _ = digest(source)
    other = open_at(faulty_s3_storage, source.parent)

    def let_the_other_go_first(asked: Asked) -> Fault | None:
        if asked.method == "PUT":
            faulty_s3.heal()
            other.put(source, sha256)
        return None

    faulty_s3.judge = let_the_other_go_first
    store.put(source, sha256)
    assert faulty_s3.count("PUT") == 2
    assert read(store, sha256) == source.read_bytes()


@pytest.mark.parametrize("wrong", [b"", b"half"])
def test_what_damaged_bytes_keep_from_being_put_is_put_over_them(
    store: S3Store, faulty_s3: FaultyStore, source: Path, wrong: bytes
) -> None:
    """They came between our look and our put, such as by a copy that broke off."""
    sha256, _ = digest(source)

    def let_damage_come_first(asked: Asked) -> Fault | None:
        if asked.method == "PUT":
            faulty_s3.heal()
            store._patient.put_object(**store._object(sha256), Body=wrong)
        return None

    faulty_s3.judge = let_damage_come_first
    store.put(source, sha256)
    assert read(store, sha256) == source.read_bytes()


def test_an_upload_in_parts_that_fails_leaves_nothing(
    store: S3Store, faulty_s3: FaultyStore, large: Path
) -> None:
    sha256, _ = digest(large)
    puts: list[str] = []

    def fail_at_the_second_part(asked: Asked) -> Fault | None:
        if asked.method == "PUT":
            puts.append(asked.path)
        return "busy" if asked.method == "PUT" and "partNumber=2" in asked.path else None

    faulty_s3.judge = fail_at_the_second_part
    with pytest.raises(StorageUnavailableError, match="SlowDown"):
        store.put(large, sha256)
    faulty_s3.heal()
    assert list(store.entries()) == []
    assert list_uploads(store) == []
    store.put(large, sha256)
    assert read(store, sha256) == large.read_bytes()


def list_uploads(store: S3Store) -> list[str]:
    found = store._patient.list_multipart_uploads(Bucket=store._bucket)
    return [upload["Key"] for upload in found.get("Uploads", ())]


def test_old_uploads_that_nobody_ended_are_tidied_up(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"Bucket": store._bucket, "Key": "another prefix/of-ours-not"}
    for key in (store._object("1" * 64), store._object("2" * 64), other):
        store._patient.create_multipart_upload(**key)
    age = datetime.now(UTC) - begun_at(store)  # moto's uploads all began long ago
    with monkeypatch.context() as patched:
        patched.setattr(s3, "INCOMING_SECONDS", age.total_seconds() + 60)
        store.tidy()
    assert len(list_uploads(store)) == 3, "they may be on their way"
    store.tidy()
    assert list_uploads(store) == [other["Key"]]


def begun_at(store: S3Store) -> datetime:
    found = store._patient.list_multipart_uploads(Bucket=store._bucket)
    return found["Uploads"][0]["Initiated"]


def test_a_download_goes_on_where_it_broke_off(
    store: S3Store, faulty_s3: FaultyStore, source: Path
) -> None:
    sha256, size_bytes = digest(source)
    store.put(source, sha256)
    faulty_s3.befall("answer cut off", method="GET", times=2)
    assert read(store, sha256) == source.read_bytes()
    ranges = [asked.headers.get("Range") for asked in find(faulty_s3, "GET")]
    assert ranges == [None, f"bytes={size_bytes // 2}-", f"bytes={3 * size_bytes // 4}-"]


def test_a_download_that_breaks_off_again_and_again_is_given_up(
    store: S3Store, faulty_s3: FaultyStore, source: Path
) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    faulty_s3.befall("answer cut off", method="GET")
    with pytest.raises(StorageUnavailableError), store.open(sha256) as file:
        file.read()
    assert faulty_s3.count("GET") == 1 + s3.RESUMES


def test_a_part_that_breaks_off_is_taken_up_to_its_end(
    store: S3Store, faulty_s3: FaultyStore, source: Path
) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    faulty_s3.befall("answer cut off", method="GET", times=1)
    with store.open(sha256, 1000, 2000) as file:
        assert file.read() == source.read_bytes()[1000:2000]
    assert [a.headers["Range"] for a in find(faulty_s3, "GET")] == [
        "bytes=1000-1999",
        "bytes=1500-1999",
    ]


def test_bytes_that_changed_on_their_way_are_no_local_copy(
    store: S3Store, source: Path, tmp_path: Path
) -> None:
    sha256, size_bytes = digest(source)
    store._patient.put_object(**store._object(sha256), Body=b"x" * size_bytes)
    with pytest.raises(BlobError, match="changed"):
        store.fetch(sha256, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert list((tmp_path / "cache" / "blobs").iterdir()) == []


def test_a_second_copy_needs_no_store(
    store: S3Store, faulty_s3: FaultyStore, source: Path, tmp_path: Path
) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    store.fetch(sha256, tmp_path / "one")
    faulty_s3.befall("busy")
    assert store.fetch(sha256, tmp_path / "two").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("how", ["busy", "closed"])
def test_a_store_that_stays_away_is_told_in_time(
    faulty_s3_storage: dict[str, str], faulty_s3: FaultyStore, source: Path, how: str
) -> None:
    faulty_s3.befall("busy")
    if how == "closed":
        faulty_s3_storage["FMX_STORAGE_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    store = open_at(faulty_s3_storage, source.parent)
    sha256, _ = digest(source)
    calls: list[Callable[[], Any]] = [
        lambda: store.put(source, sha256),
        lambda: store.open(sha256),
        lambda: store.size_of(sha256),
        lambda: store.delete(sha256),
        lambda: list(store.entries()),
        store.tidy,
        store.check,
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(StorageUnavailableError, match="some/blobs"):
            call()
        assert time.monotonic() - began < 15


def test_what_a_probe_or_a_transaction_waits_for_does_not_take_long(
    store: S3Store, faulty_s3: FaultyStore
) -> None:
    faulty_s3.befall("no answer")
    for call in (store.check, lambda: store.delete("0" * 64)):
        began = time.monotonic()
        with pytest.raises(StorageUnavailableError):
            call()
        assert time.monotonic() - began < 5


def test_a_full_store_is_told_as_a_full_disk_is(
    store: S3Store, faulty_s3: FaultyStore, source: Path
) -> None:
    faulty_s3.befall("full", method="PUT")
    with pytest.raises(OSError, match="full") as caught:
        store.put(source, digest(source)[0])
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, StorageUnavailableError)


def test_a_store_without_credentials_is_of_no_use(
    faulty_s3_storage: dict[str, str], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(source.parent / "none"))
    with pytest.raises(StorageUnavailableError, match="credentials"):
        open_at(faulty_s3_storage, source.parent).check()


def test_a_list_comes_in_pages(
    store: S3Store, faulty_s3: FaultyStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "LIST_AT_ONCE", 2)
    monkeypatch.setattr(s3, "DELETE_AT_ONCE", 3)
    digests: set[str] = set()
    for number in range(5):
        source.write_text(str(number))
        digests.add(digest(source)[0])
        store.put(source, digest(source)[0])
    assert set(store.digests()) == digests
    assert faulty_s3.count("GET") == 3
    store.delete_all(digests)
    assert list(store.digests()) == []
    deletions = [asked for asked in find(faulty_s3, "POST") if "delete" in asked.path]
    assert len(deletions) == 2
    for asked in deletions:
        sum_ = hashlib.md5(asked.body, usedforsecurity=False).digest()
        assert asked.headers["Content-MD5"] == base64.b64encode(sum_).decode()


def test_a_signed_url_gives_the_file_to_whoever_has_it(store: S3Store, source: Path) -> None:
    sha256, _ = digest(source)
    store.put(source, sha256)
    url = store.sign(sha256, "text/csv; charset=utf-8", 'attachment; filename="a b.csv"')
    assert url is not None
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["300"]
    assert "a secret" not in url
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, source.read_bytes())
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="a b.csv"'
    part = httpx.get(url, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, source.read_bytes()[5:10])


def test_urls_name_the_address_that_clients_know(
    faulty_s3_storage: dict[str, str], tmp_path: Path
) -> None:
    public = "https://files.example.org"
    store = open_at(faulty_s3_storage, tmp_path, storage_public_endpoint=public)
    url = store.sign("0" * 64, "text/plain", "attachment")
    assert url is not None
    assert url.startswith(f"{public}/{store._bucket}/some/blobs/00/000")
    never = open_at(faulty_s3_storage, tmp_path, storage_redirects="never")
    assert never.sign("0" * 64, "text/plain", "attachment") is None


@pytest.mark.parametrize(
    ("values", "environment", "region"),
    [
        ({}, {}, "us-east-1"),
        ({}, {"AWS_REGION": "eu-north-1"}, "eu-north-1"),
        ({}, {"AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"storage_region": "garage"}, {"AWS_REGION": "eu-north-1"}, "garage"),
    ],
)
def test_the_region_is_the_settings_or_the_environments(
    faulty_s3_storage: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, str],
    environment: dict[str, str],
    region: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    url = open_at(faulty_s3_storage, tmp_path, **values).sign("0" * 64, "text/plain", "attachment")
    assert url is not None
    assert f"%2F{region}%2Fs3%2F" in url
