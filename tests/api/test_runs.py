"""Runs and their epochs; results and manifests."""

import csv
import io
import math
from typing import Any

import pytest
from http_service import RESULTS, SUMMARY, Service, epoch, pointers, problem

from api.conditional import prefers_csv
from fmx_store import claims

COLUMNS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"]


def train(service: Service, num_epochs: int) -> str:
    """The id of a run that has trained for some epochs and goes on."""
    service.submit(spec={"max_epochs": 1000})
    claim = service.claim()
    epochs = [epoch(number) for number in range(1, num_epochs + 1)]
    claims.record_progress(service.db, claim.lease, epochs, phase="training")
    return claim.run.id


def test_runs_are_paged_in_the_plans_order(column_service: Service) -> None:
    service = column_service
    path = f"/v1/jobs/{service.submit(spec={'seeds': [5, 3, 4]})['id']}/runs"
    everything = service.get(path)
    assert [run["name"] for run in everything["items"]] == ["seed-5", "seed-3", "seed-4"]
    assert everything["next_cursor"] is None
    first = service.get(path, limit=2)
    second = service.get(path, limit=2, cursor=first["next_cursor"])
    assert first["items"] + second["items"] == everything["items"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "MDFKRFo1VDAwMDAwMDAwMDAwMDAwMDAwMEo", "////"])
def test_another_lists_cursor_is_refused(service: Service, cursor: str) -> None:
    path = f"/v1/jobs/{service.submit()['id']}/runs"
    answer = service.client.get(path, params={"cursor": cursor})
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?cursor"]


def test_a_run_is_shown_in_full(service: Service) -> None:
    job_id = service.submit(spec={"max_epochs": 7, "device": "cpu"})["id"]
    listed = service.get(f"/v1/jobs/{job_id}/runs")["items"][0]
    path = f"/v1/runs/{listed['id']}"
    body = service.get(path)
    assert body == listed
    assert (body["job"], body["name"], body["device"]) == (job_id, "seed-0", "cpu")
    assert (body["state"], body["attempt"], body["summary"]) == ("queued", 0, {})
    assert (body["params"]["task"], body["params"]["max_epochs"]) == ("train_cnn", 7)
    assert body["links"] == {
        "self": path,
        "job": f"/v1/jobs/{job_id}",
        "metrics": f"{path}/metrics",
    }
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, [epoch(1)], phase="training")
    body = service.get(path)
    assert body["progress"] == {
        "phase": "training",
        "completed": 1,
        "total": 7,
        "unit": "epoch",
        "eta_seconds": 3.0,
    }
    service.succeed(claim, {}, model=True)
    body = service.get(path)
    assert (body["state"], body["summary"]) == ("succeeded", SUMMARY)
    assert body["progress"]["phase"] == "succeeded"
    assert body["progress"]["eta_seconds"] == 0
    assert body["model"] == service.get(f"/v1/jobs/{job_id}")["models"][0]


def test_a_collation_is_no_run_of_a_client(service: Service) -> None:
    service.submit()
    service.succeed(service.claim(), {})
    collation = service.claim().run
    assert collation.name == "collation"
    problem(service.client.get(f"/v1/runs/{collation.id}"), 404, "not_found")
    problem(service.client.get(f"/v1/runs/{collation.id}/metrics"), 404, "not_found")


def test_metrics_as_json(column_service: Service) -> None:
    run_id = train(column_service, 3)
    body = column_service.get(f"/v1/runs/{run_id}/metrics")
    assert body == {
        "run": run_id,
        "columns": COLUMNS,
        "rows": [[number, 1 / number, None, 2 / number, 0.5, 0.5] for number in (1, 2, 3)],
    }


def test_metrics_of_a_run_that_has_not_begun(service: Service) -> None:
    job_id = service.submit()["id"]
    run_id = service.get(f"/v1/jobs/{job_id}/runs")["items"][0]["id"]
    assert service.get(f"/v1/runs/{run_id}/metrics")["rows"] == []


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Accept": "text/csv"}, {}),
        ({"Accept": "text/csv, application/json;q=0.5"}, {}),
        ({"Accept": "application/json"}, {"format": "csv"}),
    ],
)
def test_metrics_as_csv(service: Service, headers: dict[str, str], query: dict[str, str]) -> None:
    run_id = train(service, 2)
    answer = service.client.get(f"/v1/runs/{run_id}/metrics", headers=headers, params=query)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert answer.text.count("\r\n") == 3
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows == [
        COLUMNS,
        ["1", "1.0", "", "2.0", "0.5", "0.5"],
        ["2", "0.5", "", "1.0", "0.5", "0.5"],
    ]


def test_json_is_what_most_clients_get(service: Service) -> None:
    path = f"/v1/runs/{train(service, 1)}/metrics"
    for accept in ("*/*", "application/json", "text/html, */*;q=0.8"):
        answer = service.client.get(path, headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "Accept"
    answer = service.client.get(path, headers={"Accept": "text/csv"}, params={"format": "json"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/*", True),
        ("text/csv;q=0", False),
        ("text/csv;q=0.4, application/json;q=0.5", False),
        ("TEXT/CSV", True),
        ("text/csv;charset=utf-8;q=0.9, */*;q=0.1", True),
        ("text/csv;q=high", False),
        (",,;;=,", False),
    ],
)
def test_accept_headers(accept: str | None, expected: bool) -> None:
    assert prefers_csv(accept) is expected


def test_metrics_are_thinned(service: Service) -> None:
    path = f"/v1/runs/{train(service, 100)}/metrics"
    for max_points, first in ((1, 100), (2, 1), (10, 1)):
        rows = service.get(path, max_points=max_points)["rows"]
        assert len(rows) == max_points
        assert (rows[0][0], rows[-1][0]) == (first, 100)
    assert len(service.get(path, max_points=10_000)["rows"]) == 100


@pytest.mark.parametrize("max_points", ["0", "10001", "-1", "x", "1.5"])
def test_bad_numbers_of_points(service: Service, max_points: str) -> None:
    path = f"/v1/runs/{train(service, 1)}/metrics"
    answer = service.client.get(path, params={"max_points": max_points})
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?max_points"]


def test_a_format_that_is_not_known(service: Service) -> None:
    path = f"/v1/runs/{train(service, 1)}/metrics"
    answer = service.client.get(path, params={"format": "xml"})
    problem(answer, 422, "invalid")


def test_a_loss_that_is_no_number_is_null(column_service: Service) -> None:
    service = column_service
    service.submit()
    claim = service.claim()
    bad = [epoch(1, train_loss=math.inf), epoch(2, train_loss=math.nan, val_loss=-math.inf)]
    claims.record_progress(service.db, claim.lease, bad)
    rows: list[list[Any]] = service.get(f"/v1/runs/{claim.run.id}/metrics")["rows"]
    assert [rows[0][1], rows[1][1], rows[1][3]] == [None, None, None]


def test_results_come_at_the_end(column_service: Service) -> None:
    service = column_service
    job_id = service.submit(spec={"max_epochs": 400})["id"]
    path = f"/v1/jobs/{job_id}/results"
    answer = service.client.get(path)
    problem(answer, 409, "not_ready")
    assert answer.headers["retry-after"] == "1"
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, [epoch(1)], phase="training")
    assert service.client.get(path).headers["retry-after"] == "60"
    claims.record_progress(service.db, claim.lease, [epoch(390)])
    assert service.client.get(path).headers["retry-after"] == "5"
    service.succeed(claim, {})
    problem(service.client.get(path), 409, "not_ready")
    service.collate({})
    assert service.get(path) == {
        "job": job_id,
        **RESULTS,
        "tables": [{**RESULTS["tables"][0], "note": None}],
    }


def test_a_job_that_failed_has_no_results(service: Service) -> None:
    job_id = service.submit()["id"]
    service.fail(service.claim())
    problem(service.client.get(f"/v1/jobs/{job_id}/results"), 409, "no_results")


def test_a_manifest_tells_what_there_is_so_far(service: Service) -> None:
    job_id = service.submit(spec={"seeds": [0, 1]})["id"]
    path = f"/v1/jobs/{job_id}/manifest"
    job = service.get(f"/v1/jobs/{job_id}")
    before = service.get(path)
    assert (before["kind"], before["runs"]) == ("q1", [])
    assert (before["spec"], before["spec_hash"]) == (job["spec"], job["spec_hash"])
    service.succeed(service.claim(), {})
    after = service.get(path)
    assert [run["name"] for run in after["runs"]] == ["seed-0"]
    assert after["data"] == [SUMMARY["data"]]
