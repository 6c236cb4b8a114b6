"""Polls: what is read for them, and that what is kept is never shown too long."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from http_service import Service, epoch, problem
from record_kit import statements

from api import shown_jobs
from api.schemas import JobBody
from fmx_store import claims, jobs


def read(told: list[str]) -> list[str]:
    return [statement for statement in told if statement.startswith("SELECT")]


def test_a_job_that_the_client_has_costs_its_version_alone(column_service: Service) -> None:
    service = column_service
    path = service.submit()["links"]["self"]
    known = {"If-None-Match": service.client.get(path).headers["etag"]}
    with statements(service.app.state.services._db) as told:
        answer = service.client.get(path, headers=known)
    assert (answer.status_code, answer.content) == (304, b"")
    [query] = [s for s in read(told) if "FROM job" in s]
    assert "spec" not in query
    assert answer.headers["etag"] == known["If-None-Match"]


def test_a_body_is_read_once_for_each_version(column_service: Service) -> None:
    service = column_service
    path = service.submit()["links"]["self"]
    first = service.client.get(path)
    with statements(service.app.state.services._db) as told:
        again = service.client.get(path)
    assert again.content == first.content
    assert not [statement for statement in told if "spec" in statement]
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, [epoch(1)], phase="training")
    changed = service.client.get(path)
    assert changed.headers["etag"] != first.headers["etag"]
    assert changed.json()["progress"]["completed"] == 1
    claims.hand_back(service.db, claim.lease)
    assert service.get(path)["state"] == "running"


def test_the_body_is_what_the_schema_says(service: Service) -> None:
    content = service.client.get(service.submit(tags=["b", "a"])["links"]["self"]).content
    assert JobBody.model_validate_json(content).model_dump_json().encode() == content


def test_many_polls_of_many_jobs_are_answered_each_with_its_own(service: Service) -> None:
    ids = [service.submit(name=f"job {n}")["id"] for n in range(6)]
    jobs.remove(service.db, ids.pop())
    gone = "0" * 26

    def poll(job_id: str) -> tuple[int, str]:
        with httpx.Client(base_url=service.server.url) as client:
            answers = [client.get(f"/v1/jobs/{job_id}") for _ in range(5)]
        bodies = [answer.json() for answer in answers]
        assert len({answer.status_code for answer in answers}) == 1
        return answers[0].status_code, bodies[0].get("id", bodies[0].get("code"))

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(poll, [*ids, gone, "no id", *ids]))
    right = [(200, job_id) for job_id in ids]
    assert found == [*right, (404, "not_found"), (404, "not_found"), *right]


def test_a_removed_job_is_gone_at_once(service: Service) -> None:
    path = service.submit()["links"]["self"]
    service.client.get(path)
    assert service.client.delete(path).status_code == 204
    problem(service.client.get(path), 404, "not_found")


def test_kept_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_jobs, "MAX_KEPT_BYTES", 10)
    kept = shown_jobs._Kept()
    kept.put("a", b"1234")
    kept.put("b", b"1234")
    assert kept.get("a") == b"1234"
    kept.put("c", b"1234")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (b"1234", None, b"1234")
    kept.put("c", b"123456")
    assert kept.get("a") is not None
    kept.put("d", b"too many bytes for any")
    assert [kept.get(tag) for tag in "abcd"] == [None] * 4
    kept.put("e", b"12")
    assert kept.get("e") == b"12"


def test_a_slow_submission_keeps_no_poll_waiting(service: Service) -> None:
    """While another process writes, and so a submission can't, jobs are shown as ever."""
    path = service.submit()["links"]["self"]
    answers: list[int] = []

    def post() -> None:
        with httpx.Client(base_url=service.server.url, timeout=30) as client:
            answers.append(client.post("/v1/jobs", json={"kind": "q1"}).status_code)

    with service.db.write() as session:
        session.connection()
        poster = threading.Thread(target=post)
        poster.start()
        for _ in range(5):
            assert service.get(path)["state"] == "queued"
        assert answers == []
    poster.join()
    assert answers == [202]
