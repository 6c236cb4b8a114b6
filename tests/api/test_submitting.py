"""POST /v1/jobs: what is recorded, and what a client is answered."""

import threading
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest
from http_service import Service, pointers, problem, wait_until
from sqlalchemy import func
from sqlmodel import select

from fmx_store.tables import Job, Run


def count_jobs(service: Service) -> int:
    with service.db.read() as session:
        return session.exec(select(func.count()).select_from(Job)).one()


def test_a_job_is_recorded_and_answered_in_full(column_service: Service) -> None:
    request = {
        "kind": "q1",
        "preset": "report",
        "name": "first",
        "tags": ["demo", "a tag"],
        "priority": 7,
        "time_limit_seconds": 3600,
        "reuse": False,
        "spec": {"seeds": [0, 1], "max_epochs": 9, "optimiser": {"learning_rate": 0.01}},
    }
    answer = column_service.client.post("/v1/jobs", json=request)
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{body['id']}"
    assert answer.headers["etag"] == f'"{body["id"]}-1"'
    assert body["spec"]["model"]["conv_layers"] == 2
    assert body["spec"]["optimiser"] == {
        "name": "SGD",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "momentum": 0.0,
    }
    expected = {
        "kind": "q1",
        "preset": "report",
        "name": "first",
        "tags": ["a tag", "demo"],
        "state": "queued",
        "reason": None,
        "error": None,
        "priority": 7,
        "time_limit_seconds": 3600,
        "started_at": None,
        "finished_at": None,
        "progress": {
            "phase": "queued",
            "completed": 0,
            "total": 18,
            "unit": "epoch",
            "eta_seconds": None,
        },
        "runs": {
            "queued": 2,
            "running": 0,
            "cancelling": 0,
            "succeeded": 0,
            "failed": 0,
            "cancelled": 0,
        },
        "models": [],
    }
    assert {name: body[name] for name in expected} == expected
    assert body["created_at"].endswith("Z")
    assert datetime.fromisoformat(body["created_at"]).utcoffset() is not None
    assert column_service.get(answer.headers["location"]) == body
    with column_service.db.read() as session:
        names = session.exec(select(Run.name).where(Run.job_id == body["id"])).all()
    assert sorted(names) == ["collation", "seed-0", "seed-1"]


def test_links_lead_somewhere(service: Service) -> None:
    links = service.submit()["links"]
    for name in ("self", "runs", "manifest", "artifacts", "archive"):
        assert service.client.get(links[name]).status_code == 200, name
    problem(service.client.get(links["results"]), 409, "not_ready")
    assert service.client.post(links["cancel"]).status_code == 202
    assert service.client.post(links["retry"]).status_code == 202


def test_a_kind_alone_is_the_reports_experiment(service: Service) -> None:
    body = service.submit()
    assert body["preset"] == "report"
    assert (body["spec"]["max_epochs"], body["spec"]["batch_size"]) == (450, 100)
    assert body["progress"]["total"] == 450


def test_a_key_records_a_job_once(column_service: Service) -> None:
    client, headers = column_service.client, {"Idempotency-Key": "one key"}
    first = client.post("/v1/jobs", json={"kind": "q1", "name": "x"}, headers=headers)
    assert "idempotent-replayed" not in first.headers
    # The same request in another order and spacing.
    again = client.post(
        "/v1/jobs",
        content=b'{ "name": "x",\n "kind": "q1" }',
        headers={**headers, "Content-Type": "application/json"},
    )
    assert again.status_code == 202
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert count_jobs(column_service) == 1


def test_a_replay_shows_the_present_state(service: Service) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers).json()["id"]
    service.client.post(f"/v1/jobs/{job_id}/cancel")
    again = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
    assert (again.status_code, again.json()["state"]) == (202, "cancelled")


def test_a_key_with_another_request_is_refused(service: Service) -> None:
    headers = {"Idempotency-Key": "k"}
    service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
    answer = service.client.post("/v1/jobs", json={"kind": "q1", "name": "y"}, headers=headers)
    problem(answer, 422, "idempotency_mismatch")
    assert count_jobs(service) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "grün".encode().decode("latin-1")])
def test_a_key_that_cannot_be_is_refused(service: Service, key: str) -> None:
    headers = httpx.Headers([(b"Idempotency-Key", key.encode("latin-1"))])
    answer = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["header Idempotency-Key"]
    assert count_jobs(service) == 0


def test_the_longest_key_is_taken(service: Service) -> None:
    headers = {"Idempotency-Key": "~" * 255}
    assert service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers).is_success


def test_a_key_in_flight_is_a_conflict(service: Service) -> None:
    """A first request that can't end, because another writer holds the database."""
    headers = {"Idempotency-Key": "k"}
    answers: list[httpx.Response] = []

    def post() -> None:
        answers.append(service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers))

    with service.db.write() as session:
        session.exec(select(Job.id)).all()
        first = threading.Thread(target=post)
        first.start()
        wait_until(lambda: (None, "k") in service.app.state.services.submissions._in_flight, 5)
        answer = httpx.post(f"{service.server.url}/v1/jobs", json={"kind": "q1"}, headers=headers)
        problem(answer, 409, "in_flight")
        assert answer.headers["retry-after"] == "1"
    first.join()
    assert answers[0].status_code == 202
    assert count_jobs(service) == 1


def test_many_requests_with_one_key_make_one_job(service: Service) -> None:
    def post() -> None:
        with httpx.Client(base_url=service.server.url) as client:
            answer = client.post("/v1/jobs", json={"kind": "q1"}, headers={"Idempotency-Key": "k"})
        statuses.append(answer.status_code)

    statuses: list[int] = []
    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {202, 409}
    assert 202 in statuses
    assert count_jobs(service) == 1


class TestSmallLimits:
    """The bounds of settings, at the bound and one above."""

    @pytest.fixture
    def settings_values(self) -> dict[str, int]:
        return {"max_runs_per_job": 3, "max_body_bytes": 200, "max_json_depth": 4}

    def test_runs(self, service: Service) -> None:
        assert service.submit(spec={"seeds": [1, 2, 3]})["runs"]["queued"] == 3
        answer = service.client.post(
            "/v1/jobs", json={"kind": "q1", "spec": {"seeds": [1, 2, 3, 4]}}
        )
        problem(answer, 422, "limit_exceeded")
        assert pointers(answer) == ["/spec"]
        answer = service.client.post(
            "/v1/jobs/validate", json={"kind": "q1", "spec": {"seeds": [1, 2, 3, 4]}}
        )
        problem(answer, 422, "limit_exceeded")

    def test_bytes(self, service: Service) -> None:
        headers = {"Content-Type": "application/json"}
        body = b'{"kind": "q1"}'
        full = body + b" " * (200 - len(body))
        assert service.client.post("/v1/jobs", content=full, headers=headers).is_success
        answer = service.client.post("/v1/jobs", content=full + b" ", headers=headers)
        problem(answer, 413, "too_large")

    def test_bytes_of_a_body_that_does_not_say_its_length(self, service: Service) -> None:
        def chunks() -> Iterator[bytes]:
            yield b'{"kind": '
            yield b'"q1"}'
            for _ in range(extra):
                yield b" " * 10

        headers = {"Content-Type": "application/json"}
        extra = 18
        assert service.client.post("/v1/jobs", content=chunks(), headers=headers).is_success
        extra = 30
        answer = service.client.post("/v1/jobs", content=chunks(), headers=headers)
        problem(answer, 413, "too_large")
        assert count_jobs(service) == 1

    def test_depth(self, service: Service) -> None:
        answer = service.client.post("/v1/jobs", json={"kind": "q1", "tags": [[[]]]})
        problem(answer, 422, "invalid")
        answer = service.client.post("/v1/jobs", json={"kind": "q1", "tags": [[[[]]]]})
        problem(answer, 400, "bad_json")
        assert pointers(answer) == ["/tags/0/0/0"]


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (None, None),
        ("text/plain", None),
        ("application/x-www-form-urlencoded", None),
        ("application/jsonp", None),
        ("application/json", "gzip"),
    ],
)
def test_other_media_types_are_refused(
    service: Service, content_type: str | None, encoding: str | None
) -> None:
    given = {"Content-Type": content_type, "Content-Encoding": encoding}
    headers = {name: value for name, value in given.items() if value is not None}
    answer = service.client.post("/v1/jobs", content=b'{"kind": "q1"}', headers=headers)
    code = "unsupported_content_encoding" if encoding else "unsupported_media_type"
    problem(answer, 415, code)
    assert count_jobs(service) == 0


def test_a_media_type_with_parameters_is_taken(service: Service) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = service.client.post("/v1/jobs", content=b'{"kind": "q1"}', headers=headers)
    assert answer.status_code == 202
