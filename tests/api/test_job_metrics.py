"""The epochs of all runs of a job in one answer: in order, thinned, the owner's alone.

How long hundreds of runs take is in test_big_job.
"""

import itertools
from typing import Any

import pytest
from http_service import Service, epoch, pointers, problem
from key_kit import bearer, make_key

from fmx_store import claims

COLUMNS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
NOBODY = "01KB0000000000000000000000"


def curves_of(service: Service, job_id: str, **query: Any) -> dict[str, list[list[Any]]]:
    """The rows of each run by its name, of a job on a server."""
    body = service.get(f"/v1/jobs/{job_id}/metrics", **query)
    assert body["job"] == job_id
    assert body["columns"] == COLUMNS
    return {run["name"]: run["rows"] for run in body["runs"]}


def test_every_run_has_its_epochs_in_the_order_of_the_plan(column_service: Service) -> None:
    service = column_service
    job = service.submit(spec={"seeds": [3, 1, 2]})
    path = f"/v1/jobs/{job['id']}/metrics"
    assert [run["state"] for run in service.get(path)["runs"]] == ["queued"] * 3
    first, second = service.claim(), service.claim()
    claims.record_progress(service.db, first.lease, [epoch(1), epoch(2)])
    claims.record_progress(service.db, second.lease, [epoch(1, val_loss=None)])
    body = service.get(path)
    assert [run["name"] for run in body["runs"]] == ["seed-3", "seed-1", "seed-2"]
    assert [run["state"] for run in body["runs"]] == ["running", "running", "queued"]
    assert [run["attempt"] for run in body["runs"]] == [1, 1, 0]
    assert curves_of(service, job["id"]) == {
        "seed-3": [[1, 1.0, None, 2.0, 0.5], [2, 0.5, None, 1.0, 0.5]],
        "seed-1": [[1, 1.0, None, None, 0.5]],
        "seed-2": [],
    }
    service.client.post(job["links"]["cancel"])


def test_it_is_thinned_evenly_and_keeps_both_ends(column_service: Service) -> None:
    service = column_service
    job = service.submit(spec={"seeds": [0, 1, 2]})
    counts = {"seed-0": 100, "seed-1": 7, "seed-2": 1}
    for number in counts.values():
        lease = service.claim().lease
        claims.record_progress(service.db, lease, [epoch(i + 1) for i in range(number)])
    for max_points in (4, 5, 10, 99, 100, 101, 1000):
        found = curves_of(service, job["id"], max_points=max_points)
        for name, number in counts.items():
            assert_thinned([row[0] for row in found[name]], number, max_points)
    service.client.post(job["links"]["cancel"])


def assert_thinned(epochs: list[int], number: int, max_points: int) -> None:
    """They are some of so many epochs: both ends, and between them one stride and what is left."""
    assert len(epochs) <= max_points
    assert (epochs[0], epochs[-1]) == (1, number)
    assert len({b - a for a, b in itertools.pairwise(epochs)}) <= 2
    if max_points >= number:
        assert epochs == list(range(1, number + 1))


def test_what_a_retry_does_again_is_not_told_of(service: Service) -> None:
    job_id = service.submit()["id"]
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, [epoch(1), epoch(2)])
    service.fail(claim)
    assert service.client.post(f"/v1/jobs/{job_id}/retry").status_code == 202
    assert curves_of(service, job_id) == {"seed-0": []}


def test_bad_questions_have_clear_answers(column_service: Service) -> None:
    service, client = column_service, column_service.client
    for name in (NOBODY, "x", "%00", "%ff" * 26, "0" * 5000):
        problem(client.get(f"/v1/jobs/{name}/metrics"), 404, "not_found")
    path = f"/v1/jobs/{service.submit()['id']}/metrics"
    for text in ("3", "0", "-1", "1001", "many", "", "9" * 30):
        answer = client.get(path, params={"max_points": text})
        problem(answer, 422, "invalid")
        assert pointers(answer) == ["?max_points"]
    problem(client.get(path, params={"points": "5"}), 422, "invalid")


class TestWithKeys:
    """Whose it is."""

    @pytest.fixture
    def settings_values(self) -> dict[str, Any]:
        """Keys are on."""
        return {"keys": "required"}

    def test_another_owner_finds_no_job(self, service: Service) -> None:
        ada, bob = (bearer(make_key(service, owner)) for owner in ("ada", "bob"))
        job = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=ada).json()
        path = f"/v1/jobs/{job['id']}/metrics"
        assert service.client.get(path, headers=ada).status_code == 200
        problem(service.client.get(path, headers=bob), 404, "not_found")
