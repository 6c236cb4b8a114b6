"""Specs that name runs of other jobs: what a client is told of those that can't be used."""

from typing import Any

import httpx
import pytest
from http_service import Service, pointers, problem

SHAPE = {"model": {"conv_layers": 1, "dense_layers": 3}}
PATHS = ["/v1/jobs", "/v1/jobs/validate"]


def transfer_from(run_id: str, **spec: Any) -> dict[str, Any]:
    """A request of Q5 for few trainings that start from a run of another job."""
    few = {"fractions": [50], "starts": ["frozen"], "final_percent": 50, "max_epochs": 10}
    return {"kind": "q5", "spec": {**few, "source_run": run_id, **spec}}


def first_run(service: Service, job_id: str) -> str:
    return service.get(f"/v1/jobs/{job_id}/runs")["items"][0]["id"]


def check_refused(answer: httpx.Response, code: str, *, told_as: str | None = None) -> None:
    body = problem(answer, 422, told_as or code)
    assert pointers(answer) == ["/spec/source_run"]
    assert body["errors"][0]["code"] == code
    assert body["errors"][0]["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_a_run_that_does_not_exist(column_service: Service, path: str) -> None:
    answer = column_service.client.post(path, json=transfer_from("0" * 26))
    check_refused(answer, "unknown_run")
    answer = column_service.client.post(path, json=transfer_from("no id"))
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["/spec/source_run"]
    assert column_service.get("/v1/jobs")["items"] == []


@pytest.mark.parametrize("path", PATHS)
def test_a_run_that_has_not_succeeded(column_service: Service, path: str) -> None:
    service = column_service
    job_id = service.submit(spec=SHAPE)["id"]
    request = transfer_from(first_run(service, job_id))
    answer = service.client.post(path, json=request)
    check_refused(answer, "not_finished")
    assert "is queued" in answer.json()["detail"]
    service.fail(service.claim())
    check_refused(service.client.post(path, json=request), "not_finished")
    assert service.get("/v1/jobs", kind="q5")["items"] == []


@pytest.mark.parametrize("path", PATHS)
def test_a_run_that_does_not_fit(service: Service, path: str) -> None:
    source = first_run(service, service.run_to_success())
    answer = service.client.post(path, json=transfer_from(source))
    check_refused(answer, "does_not_fit", told_as="invalid")
    assert service.get("/v1/jobs", kind="q5")["items"] == []


def test_a_named_run_is_told_and_taken_over(column_service: Service) -> None:
    service = column_service
    job_id = service.run_to_success(spec=SHAPE, files={"model.json": b"{}"}, model=True)
    source = first_run(service, job_id)
    request = transfer_from(source)
    plan = service.client.post("/v1/jobs/validate", json=request).json()
    assert [(run["name"], run["taken_from"]) for run in plan["runs"]][:2] == [
        ("source-taken", source),
        ("fmnist2-initial-seed-0", None),
    ]
    assert plan["estimate"]["epochs_at_most"] == 10 * (len(plan["runs"]) - 1)

    job = service.client.post("/v1/jobs", json=request).json()
    assert (job["state"], job["runs"]["succeeded"]) == ("running", 1)
    assert job["runs"]["queued"] == len(plan["runs"]) - 1
    taken = service.get(job["links"]["runs"])["items"][0]
    assert (taken["state"], taken["reused_from"]) == ("succeeded", source)
    assert job["models"] == [taken["model"]]
    files = service.get(job["links"]["artifacts"])["items"]
    assert [(file["path"], file["run"]) for file in files] == [
        ("source-taken/model.json", "source-taken")
    ]
    service.client.post(f"{job['links']['self']}/cancel")


def test_a_key_answers_though_the_named_run_has_gone(service: Service) -> None:
    job_id = service.run_to_success(spec=SHAPE)
    request, headers = transfer_from(first_run(service, job_id)), {"Idempotency-Key": "k"}
    first = service.client.post("/v1/jobs", json=request, headers=headers)
    assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    again = service.client.post("/v1/jobs", json=request, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    check_refused(service.client.post("/v1/jobs", json=request), "unknown_run")
