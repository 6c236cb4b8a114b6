"""What every answer has, and how errors that nobody planned for are told."""

import logging
import sqlite3
from collections.abc import Iterator

import httpx
import pytest
from http_service import Service, pointers, problem
from sqlalchemy import event
from sqlmodel import select

from fmx_store import jobs
from fmx_store.errors import BlobError
from fmx_store.tables import Job

# Of no job, run or model; the same in each process that collects these tests.
NOBODY = "01KB0000000000000000000000"
JOB = f"/v1/jobs/{NOBODY}"
RUN = f"/v1/runs/{NOBODY}"
MODEL = f"/v1/models/{NOBODY}"

# Every path and what it answers to a GET.
PATHS = [
    ("/", 307),
    ("/docs", 200),
    ("/openapi.json", 200),
    ("/static/docs.js", 200),
    ("/healthz", 200),
    ("/readyz", 200),
    ("/v1/kinds", 200),
    ("/v1/kinds/q1", 200),
    ("/v1/jobs", 200),
    ("/v1/models", 200),
    ("/nothing", 404),
    ("/v1/kinds/q9", 404),
    (JOB, 404),
]
NOT_FOUND = [
    ("GET", JOB),
    ("DELETE", JOB),
    ("POST", f"{JOB}/cancel"),
    ("POST", f"{JOB}/retry"),
    ("GET", f"{JOB}/runs"),
    ("GET", f"{JOB}/results"),
    ("GET", f"{JOB}/manifest"),
    ("GET", f"{JOB}/artifacts"),
    ("GET", f"{JOB}/artifacts/x.png"),
    ("GET", f"{JOB}/artifacts.zip"),
    ("GET", RUN),
    ("GET", f"{RUN}/metrics"),
    ("GET", MODEL),
    ("POST", f"{MODEL}/predict"),
    ("POST", f"{MODEL}/feature-maps"),
    ("GET", "/v1/kinds/q9"),
    ("GET", "/v1"),
    ("GET", "/v1/jobs/"),
    ("GET", "/static/nothing.js"),
    ("GET", "/static/../main.py"),
    ("GET", "/static/%2e%2e/%2e%2e/main.py"),
]
ODD_IDS = ["x", "0" * 25, "0" * 27, "%00" * 26, "é" * 26, "' OR 1=1 --", "..%2f..", "%ff%fe"]


@pytest.mark.parametrize(("path", "status"), PATHS)
def test_every_answer_has_the_headers(shared: Service, path: str, status: int) -> None:
    answer = shared.client.get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers["x-request-id"]) >= 16
    assert "server" not in answer.headers


@pytest.mark.parametrize(("path", "status"), PATHS)
def test_head_answers_as_get_without_a_body(shared: Service, path: str, status: int) -> None:
    got, asked = shared.client.get(path), shared.client.head(path)
    assert (asked.status_code, asked.content) == (status, b"")
    assert asked.headers.get("content-type") == got.headers.get("content-type")
    if path not in {JOB, "/nothing", "/v1/kinds/q9"}:  # whose bodies hold the request's id
        assert asked.headers.get("content-length") == got.headers.get("content-length")


def test_a_request_id_is_taken_if_it_is_safe(shared: Service) -> None:
    answer = shared.client.get("/nothing", headers={"X-Request-ID": "mine-1_2.3~4"})
    assert answer.headers["x-request-id"] == "mine-1_2.3~4"
    assert answer.json()["request_id"] == "mine-1_2.3~4"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\tb", '"><script>'])
def test_other_request_ids_are_replaced(shared: Service, given: str) -> None:
    answer = shared.client.get("/healthz", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] not in {"", given}


@pytest.mark.parametrize(("method", "path"), NOT_FOUND)
def test_what_is_not_there_is_404(shared: Service, method: str, path: str) -> None:
    body = problem(shared.client.request(method, path), 404, "not_found")
    assert body["instance"].startswith("/")
    assert body["errors"] == []


@pytest.mark.parametrize("identity", ODD_IDS)
@pytest.mark.parametrize(
    "path", ["/v1/jobs/{}", "/v1/jobs/{}/runs", "/v1/runs/{}", "/v1/models/{}"]
)
def test_odd_ids_are_404(column_service: Service, path: str, identity: str) -> None:
    answer = column_service.client.get(path.format(identity))
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", {"GET", "HEAD", "POST"}),
        ("PATCH", JOB, {"GET", "HEAD", "DELETE"}),
        ("GET", f"{JOB}/cancel", {"POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("OPTIONS", "/v1/models", {"GET", "HEAD"}),
        ("TRACE", "/v1/models", {"GET", "HEAD"}),
        ("PROPFIND", "/v1/models", {"GET", "HEAD"}),
        ("DELETE", "/static/docs.js", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_405(shared: Service, method: str, path: str, allowed: set[str]) -> None:
    answer = shared.client.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/v1/kinds", "/v1/kinds/q1", JOB, f"{JOB}/runs", f"{JOB}/results",
     f"{JOB}/artifacts.zip", f"{JOB}/artifacts/x", RUN, f"{RUN}/metrics", "/v1/jobs", "/v1/models",
     MODEL],
)  # fmt: skip
def test_unknown_parameters_are_refused(shared: Service, path: str) -> None:
    answer = shared.client.get(path, params={"limt": "5"})
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?limt"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=-1", "?limit"),
        ("limit=201", "?limit"),
        ("limit=many", "?limit"),
        ("limit=", "?limit"),
        ("limit=1e3", "?limit"),
        ("limit=99999999999999999999", "?limit"),
        ("limit=5&limit=6", "?limit"),
        ("cursor=x", "?cursor"),
        ("cursor=AAAA", "?cursor"),
        ("cursor=%F0%9F%92%A9", "?cursor"),
        ("cursor=" + "A" * 601, "?cursor"),
        ("cursor=..%2F..%2Fetc", "?cursor"),
        ("kind=q9", "?kind"),
        ("state=done", "?state"),
        ("tag=", "?tag"),
        ("tag=%00", "?tag"),
        ("tag=" + "t" * 65, "?tag"),
    ],
)
def test_bad_parameters_are_pointed_to(shared: Service, query: str, pointer: str) -> None:
    answer = shared.client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422, answer.text
    assert pointers(answer) == [pointer]


def test_what_nobody_planned_for_tells_no_internals(
    shared: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("the secret of the house")

    monkeypatch.setattr(jobs, "list_jobs", fail)
    with caplog.at_level(logging.ERROR):
        answer = shared.client.get("/v1/jobs")
    body = problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert body["request_id"] in caplog.text
    assert "the secret of the house" in caplog.text


def test_a_damaged_file_is_the_servers_fault(
    shared: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlobError("blob 12 is missing in /a/folder")

    monkeypatch.setattr(jobs, "list_jobs", fail)
    answer = shared.client.get("/v1/jobs")
    body = problem(answer, 500, "blob_damaged")
    assert "/a/folder" not in answer.text
    assert f"request {body['request_id']}: blob 12 is missing in /a/folder" in caplog.text


def test_a_request_that_breaks_off_is_no_failure_of_the_server(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"kind"'
        raise ConnectionError

    with pytest.raises(ConnectionError):
        service.client.post(
            "/v1/jobs", content=chunks(), headers={"Content-Type": "application/json"}
        )
    assert httpx.get(f"{service.server.url}/healthz").is_success
    assert "failed" not in caplog.text


def test_a_full_disk_is_507_until_there_is_room(service: Service) -> None:
    """SQLite's own error, where its file may not grow."""
    engine = service.app.state.services._db.engine

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # that is: no more than there are

    event.listen(engine, "connect", limit)
    engine.dispose()
    answers = [service.client.post("/v1/jobs", json={"kind": "q1"}) for _ in range(40)]
    problem(answers[-1], 507, "disk_full")
    num_recorded = sum(answer.status_code == 202 for answer in answers)
    assert len(service.get("/v1/jobs")["items"]) == num_recorded
    event.remove(engine, "connect", limit)
    engine.dispose()
    assert service.client.post("/v1/jobs", json={"kind": "q1"}).status_code == 202


def test_a_database_that_is_busy_is_503(service: Service) -> None:
    """Another program holds the write lock for longer than a request may wait."""
    engine = service.app.state.services._db.engine

    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    event.listen(engine, "connect", hurry)
    engine.dispose()
    with service.db.write() as session:
        session.exec(select(Job.id)).all()
        answer = service.client.post("/v1/jobs", json={"kind": "q1"})
        problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "2"
        assert service.client.get("/v1/jobs").status_code == 200
    assert service.client.post("/v1/jobs", json={"kind": "q1"}).status_code == 202
