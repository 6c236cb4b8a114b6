"""Reading, waiting for, cancelling, retrying and deleting jobs."""

import threading
import time
from typing import Any

import httpx
import pytest
from http_service import SUMMARY, Service, epoch, pointers, problem, wait_until
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from api import shown_jobs
from fmx_store import claims
from fmx_store.tables import Blob, Idempotency


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


def test_lists_are_paged_newest_first(column_service: Service) -> None:
    newest_first = [column_service.submit()["id"] for _ in range(5)][::-1]
    assert ids(column_service.get("/v1/jobs")) == newest_first
    first = column_service.get("/v1/jobs", limit=2)
    column_service.submit()  # which no page after the first may move
    second = column_service.get("/v1/jobs", limit=2, cursor=first["next_cursor"])
    third = column_service.get("/v1/jobs", limit=2, cursor=second["next_cursor"])
    assert ids(first) + ids(second) + ids(third) == newest_first
    assert third["next_cursor"] is None


def test_lists_are_filtered(column_service: Service) -> None:
    plain = column_service.submit()["id"]
    tagged = column_service.submit(tags=["a b/c&d", "x"])["id"]
    cancelled = column_service.submit(tags=["x"])["id"]
    column_service.client.post(f"/v1/jobs/{cancelled}/cancel")

    def found(**filters: str) -> list[str]:
        return ids(column_service.get("/v1/jobs", **filters))

    assert found(kind="q1") == [cancelled, tagged, plain]
    assert found(state="queued") == [tagged, plain]
    assert found(state="cancelled") == [cancelled]
    assert found(tag="x") == [cancelled, tagged]
    assert found(tag="a b/c&d") == [tagged]
    assert found(tag="none") == []
    assert found(tag="x", state="queued") == [tagged]


def test_the_page_limit_is_the_settings(service: Service) -> None:
    assert service.client.get("/v1/jobs", params={"limit": 200}).is_success
    answer = service.client.get("/v1/jobs", params={"limit": 201})
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?limit"]


class TestSmallPages:
    """A server whose pages are shorter than the usual ones."""

    @pytest.fixture
    def settings_values(self) -> dict[str, Any]:
        return {"max_page": 2}

    def test_a_page_without_a_limit_is_as_long_as_it_may_be(self, service: Service) -> None:
        for _ in range(3):
            service.submit()
        assert len(service.get("/v1/jobs")["items"]) == 2
        assert len(service.get("/v1/jobs", limit=2)["items"]) == 2
        problem(service.client.get("/v1/jobs", params={"limit": 3}), 422, "invalid")


def test_progress_moves_with_the_runs(column_service: Service) -> None:
    service = column_service
    job_id = service.submit(spec={"seeds": [1, 2], "max_epochs": 10})["id"]
    path = f"/v1/jobs/{job_id}"

    def progress() -> tuple[str, int, int, float | None]:
        body = service.get(path)["progress"]
        return body["phase"], body["completed"], body["total"], body["eta_seconds"]

    assert progress() == ("queued", 0, 20, None)
    first = service.claim()
    assert progress() == ("starting", 0, 20, None)
    claims.record_progress(service.db, first.lease, [epoch(1), epoch(2)], phase="training")
    assert progress() == ("training", 2, 20, 18 * 0.5)
    second = service.claim()
    claims.record_progress(service.db, second.lease, [epoch(1)], phase="data")
    assert progress() == ("training", 3, 20, 17 * 0.5 / 2)
    body = service.get(path)
    assert (body["state"], body["runs"]["running"]) == ("running", 2)
    assert body["started_at"] >= body["created_at"]
    # The first one stops early: what it will not train is no work any more.
    service.succeed(first, {})
    assert progress() == ("data", 3, 12, 9 * 0.5)
    service.fail(second)
    assert progress()[0] == "collating"
    service.collate({})
    assert progress() == ("failed", 3, 12, 0.0)


def test_a_failed_job_says_which_run_and_why(service: Service) -> None:
    job_id = service.submit()["id"]
    service.fail(service.claim())
    body = service.get(f"/v1/jobs/{job_id}")
    assert (body["state"], body["reason"]) == ("failed", "nan_loss")
    assert body["error"]["run"] == "seed-0"
    assert (body["error"]["code"], body["error"]["message"]) == ("nan_loss", "the loss is nan")
    assert body["finished_at"] is not None
    run = service.get(f"/v1/jobs/{job_id}/runs")["items"][0]
    assert run["error"]["traceback"] == "line 1"


def test_a_finished_job_names_its_models(service: Service) -> None:
    job_id = service.run_to_success(model=True, spec={"seeds": [3, 4]})
    body = service.get(f"/v1/jobs/{job_id}")
    assert body["state"] == "succeeded"
    assert len(body["models"]) == 2
    runs = service.get(f"/v1/jobs/{job_id}/runs")["items"]
    assert [run["model"] for run in runs] == body["models"]


def test_an_unchanged_job_is_304(service: Service) -> None:
    job_id = service.submit()["id"]
    path = f"/v1/jobs/{job_id}"
    etag = service.client.get(path).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = service.client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b""), known
        assert answer.headers["etag"] == etag
    claim = service.claim()
    answer = service.client.get(path, headers={"If-None-Match": etag})
    assert answer.status_code == 200
    changed = answer.headers["etag"]
    claims.record_progress(service.db, claim.lease, [epoch(1)])
    answer = service.client.get(path, headers={"If-None-Match": f"{etag}, {changed}"})
    assert answer.status_code == 200


def wait(
    service: Service, job_id: str, prefer: str, etag: str | None = None
) -> tuple[httpx.Response, float]:
    """An answer, and how long it took."""
    headers = {"Prefer": prefer, **({"If-None-Match": etag} if etag else {})}
    began = time.monotonic()
    with httpx.Client(base_url=service.server.url, timeout=30) as client:
        answer = client.get(f"/v1/jobs/{job_id}", headers=headers)
    return answer, time.monotonic() - began


def test_a_wait_ends_when_the_job_changes(column_service: Service) -> None:
    service = column_service
    job_id = service.submit()["id"]
    etag = service.client.get(f"/v1/jobs/{job_id}").headers["etag"]
    timer = threading.Timer(0.5, service.claim)
    timer.start()
    answer, seconds = wait(service, job_id, "wait=20", etag)
    timer.join()
    assert answer.status_code == 200
    assert answer.json()["state"] == "running"
    assert answer.headers["preference-applied"] == "wait=20"
    assert 0.4 < seconds < 10


def test_a_wait_for_a_change_ends_with_304(service: Service) -> None:
    job_id = service.submit()["id"]
    etag = service.client.get(f"/v1/jobs/{job_id}").headers["etag"]
    answer, seconds = wait(service, job_id, "respond-async, wait=1; x=y", etag)
    assert answer.status_code == 304
    assert (answer.headers["etag"], answer.headers["preference-applied"]) == (etag, "wait=1")
    assert seconds >= 1


def test_a_wait_without_a_tag_is_for_the_end(service: Service) -> None:
    job_id = service.submit()["id"]
    answer, seconds = wait(service, job_id, "wait=1")
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert seconds >= 1

    def end() -> None:
        claim = service.claim()
        time.sleep(0.4)
        service.client.post(f"/v1/jobs/{job_id}/cancel")
        time.sleep(0.4)
        claims.hand_back(service.db, claim.lease)

    thread = threading.Thread(target=end)
    thread.start()
    answer, seconds = wait(service, job_id, "wait=20")
    thread.join()
    assert answer.json()["state"] == "cancelled"
    assert 0.7 < seconds < 15
    assert wait(service, job_id, "wait=20")[1] < 5


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "await=9"])
def test_a_preference_that_makes_no_sense_is_ignored(service: Service, prefer: str) -> None:
    answer, seconds = wait(service, service.submit()["id"], prefer)
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
    assert seconds < 5


class TestShortWaits:
    """A server that bounds waits."""

    @pytest.fixture
    def settings_values(self) -> dict[str, Any]:
        return {"max_wait_seconds": 1}

    def test_the_bound_is_told(self, service: Service) -> None:
        answer, seconds = wait(service, service.submit()["id"], "wait=999999")
        assert answer.headers["preference-applied"] == "wait=1"
        assert seconds < 10


def test_waiting_for_what_is_not_there_is_404_at_once(service: Service) -> None:
    answer, seconds = wait(service, "0" * 26, "wait=20")
    problem(answer, 404, "not_found")
    assert seconds < 5


def test_a_job_that_goes_away_ends_the_wait(service: Service) -> None:
    job_id = service.submit()["id"]
    timer = threading.Timer(0.5, service.client.delete, [f"/v1/jobs/{job_id}"])
    timer.start()
    answer, seconds = wait(service, job_id, "wait=20")
    timer.join()
    problem(answer, 404, "not_found")
    assert seconds < 10


def test_a_wait_does_not_outlive_the_database(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, ConnectionError("gone"))

    job_id = service.submit()["id"]
    timer = threading.Timer(0.5, monkeypatch.setattr, [shown_jobs, "read_owned_versions", fail])
    timer.start()
    answer, seconds = wait(service, job_id, "wait=20")
    timer.join()
    problem(answer, 503, "database_unavailable")
    assert seconds < 10


def test_a_hundred_waits_hold_no_thread(service: Service) -> None:
    """More than the server has threads; meanwhile it answers others as ever."""
    job_id = service.submit()["id"]
    answers: list[httpx.Response] = []

    def poll() -> None:
        answers.append(wait(service, job_id, "wait=20")[0])

    threads = [threading.Thread(target=poll) for _ in range(100)]
    for thread in threads:
        thread.start()
    watch = service.app.state.services.watch
    wait_until(lambda: watch._jobs and watch._jobs[job_id].waiters == 100, 20)
    began = time.monotonic()
    assert service.get(f"/v1/jobs/{job_id}")["state"] == "queued"
    assert time.monotonic() - began < 2
    service.client.post(f"/v1/jobs/{job_id}/cancel")
    for thread in threads:
        thread.join(20)
    assert [answer.json()["state"] for answer in answers] == ["cancelled"] * 100
    wait_until(lambda: not watch._jobs, 5)


def test_cancelling(column_service: Service) -> None:
    service = column_service
    queued = service.submit()["id"]
    answer = service.client.post(f"/v1/jobs/{queued}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.json()["reason"] == "cancelled_by_user"
    problem(service.client.post(f"/v1/jobs/{queued}/cancel"), 409, "conflict")

    running = service.submit()["id"]
    claim = service.claim()
    for _ in range(2):  # a second time changes nothing
        answer = service.client.post(f"/v1/jobs/{running}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
        assert answer.json()["runs"]["cancelling"] == 1
    assert claims.beat(service.db, claim.lease) == "cancelling"
    service.succeed(claim, {})
    assert service.get(f"/v1/jobs/{running}")["state"] == "cancelled"


def test_retrying(column_service: Service) -> None:
    service = column_service
    job_id = service.submit(spec={"seeds": [0, 1]})["id"]
    problem(service.client.post(f"/v1/jobs/{job_id}/retry"), 409, "conflict")
    service.succeed(service.claim(), {})
    service.fail(service.claim())
    service.collate({})
    answer = service.client.post(f"/v1/jobs/{job_id}/retry")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    body = answer.json()
    assert (body["state"], body["error"], body["finished_at"]) == ("queued", None, None)
    assert (body["runs"]["succeeded"], body["runs"]["queued"]) == (1, 1)
    claim = service.claim()
    assert claim.run.attempt == 2
    service.succeed(claim, {})
    service.collate({})
    problem(service.client.post(f"/v1/jobs/{job_id}/retry"), 409, "conflict")
    runs = service.get(f"/v1/jobs/{job_id}/runs")["items"]
    assert [(run["attempt"], run["summary"]) for run in runs] == [(1, SUMMARY), (2, SUMMARY)]


def test_deleting_leaves_nothing(column_service: Service) -> None:
    service = column_service
    keep = service.run_to_success(files={"shared.txt": b"in both"})
    headers = {"Idempotency-Key": "again"}
    answer = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
    job_id = answer.json()["id"]
    claim = service.claim()
    problem(service.client.delete(f"/v1/jobs/{job_id}"), 409, "conflict")
    service.succeed(claim, {"shared.txt": b"in both", "own.txt": b"here only"}, model=True)
    service.collate({"figure.png": b"drawn"})
    model_id = service.get(f"/v1/jobs/{job_id}")["models"][0]

    answer = service.client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(service.client.delete(f"/v1/jobs/{job_id}"), 404, "not_found")
    problem(service.client.get(f"/v1/models/{model_id}"), 404, "not_found")
    with service.db.read() as session:
        assert len(session.exec(select(Blob)).all()) == 1
        assert session.exec(select(Idempotency)).all() == []
    assert len(list(service.blobs.digests())) == 1
    kept = service.client.get(f"/v1/jobs/{keep}/artifacts/seed-0/shared.txt")
    assert kept.content == b"in both"
    # The key is free again.
    answer = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
    assert answer.json()["id"] != job_id


def test_a_reused_run_says_so(service: Service) -> None:
    first = service.run_to_success(model=True, files={"model.json": b"{}"})
    body = service.submit(reuse=True)
    assert (body["runs"]["succeeded"], body["progress"]["phase"]) == (1, "collating")
    run = service.get(f"/v1/jobs/{body['id']}/runs")["items"][0]
    source = service.get(f"/v1/jobs/{first}/runs")["items"][0]
    assert run["reused_from"] == source["id"]
    assert (run["summary"], run["attempt"]) == (SUMMARY, 0)
    service.collate({})
    assert service.get(f"/v1/jobs/{body['id']}")["state"] == "succeeded"
