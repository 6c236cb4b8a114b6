"""What Prometheus reads: valid, true, bounded, and each viewer's own."""

import socket
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from http_service import Service, epoch, problem, serve, wait_until
from key_kit import caller
from model_files import ModelFiles
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families
from services import Column

from api.observed import exposition, standing
from fmx_store import claims
from fmx_store.figures import read_figures
from fmx_store.keys import Scope
from fmx_store.viewers import View

IMAGE = [[0] * 28] * 28

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def read(client: httpx.Client) -> Samples:
    """Every sample, by its name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


@pytest.fixture(autouse=True)
def counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test counts the record whenever it asks."""
    monkeypatch.setattr(standing, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(standing, "MAX_SHARE", 1e9)


def test_requests_are_counted_by_route_method_and_status(service: Service) -> None:
    job = service.submit()
    for _ in range(3):
        service.get(job["links"]["self"])
    service.client.head(job["links"]["self"])
    service.client.get(f"/v1/jobs/{'7' * 26}")
    service.client.get("/no/such/path")
    service.client.request("PROPFIND", "/v1/jobs")
    service.client.post("/v1/models/none/predict", json={})
    service.client.get("/v2/models/none/versions/1/ready")
    samples = read(service.client)

    def count(route: str, method: str, status: int) -> float:
        labels = {"route": route, "method": method, "status": str(status)}
        return value(samples, "fmx_http_requests_total", **labels)

    one = "/v1/jobs/{job_id}"
    assert count("/v1/jobs", "POST", 202) == 1
    assert (count(one, "GET", 200), count(one, "HEAD", 200), count(one, "GET", 404)) == (3, 1, 1)
    assert count("none", "GET", 404) == 1
    assert count("/v1/jobs", "other", 405) + count("none", "other", 405) == 1
    assert count("/v1/models/{model_id}/predict", "POST", 404) == 1
    assert count("/v2/models/{model_id}/versions/{version}/ready", "GET", 404) == 1
    name, labels = "fmx_http_request_duration_seconds", {"route": one, "method": "GET"}
    assert value(samples, f"{name}_count", **labels) == 4
    assert value(samples, f"{name}_bucket", le="+Inf", **labels) == 4
    assert 0 < value(samples, f"{name}_sum", **labels) < 60


def test_predictions_are_counted_by_model(service: Service, made: ModelFiles) -> None:
    job_id = service.run_to_success(files=made.files, model=True)
    model_id = service.get(f"/v1/jobs/{job_id}")["models"][0]
    for size in (1, 1, 3):
        body = {"images": [IMAGE] * size}
        assert service.client.post(f"/v1/models/{model_id}/predict", json=body).is_success
    samples = read(service.client)
    assert value(samples, "fmx_predicted_pictures_total", model=model_id) == 5
    asked = {"model": model_id, "outcome": "success"}
    assert value(samples, "fmx_prediction_requests_total", **asked) == 3
    assert value(samples, "fmx_prediction_compute_seconds_total", model=model_id) > 0
    assert value(samples, "fmx_prediction_batch_pictures_count") == 3
    assert value(samples, "fmx_prediction_batch_pictures_sum") == 5
    assert value(samples, "fmx_prediction_batch_pictures_bucket", le="1.0") == 2
    assert value(samples, "fmx_prediction_batch_pictures_bucket", le="4.0") == 3
    assert value(samples, "fmx_models_loaded") == 1
    service.client.delete(f"/v1/jobs/{job_id}")
    samples = read(service.client)
    assert value(samples, "fmx_predicted_pictures_total", model=model_id) == 0
    assert value(samples, "fmx_predicted_pictures_total", model="other") == 5
    assert value(samples, "fmx_prediction_batch_pictures_count") == 3, "a counter does not fall"


def test_the_record_is_told(column_service: Service) -> None:
    service = column_service
    service.run_to_success(files={"a.txt": b"12345"})
    service.submit()
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, [epoch(1)], phase="training")
    service.submit(spec={"seeds": [5], "device": "cuda"})
    samples = read(service.client)
    for state in ("succeeded", "running", "queued"):
        assert value(samples, "fmx_jobs", state=state) == 1
    assert value(samples, "fmx_runs", state="queued", queue="gpu") == 1
    assert value(samples, "fmx_due_runs", queue="gpu") == 1
    assert 0 < value(samples, "fmx_oldest_due_run_age_seconds") < 300
    assert value(samples, "fmx_workers") == 1
    assert value(samples, "fmx_worker_runs", worker="a worker") == 1
    assert value(samples, "fmx_epochs") == 3
    assert value(samples, "fmx_stored_bytes") == 5
    assert value(samples, "fmx_record_bytes") > 1000
    assert value(samples, "fmx_record_up") == 1
    assert value(samples, "process_resident_memory_bytes") > 1e6


def test_a_record_that_is_away_is_told_too(service: Service) -> None:
    folder = service.settings.data_dir
    service.app.state.services._db.engine.dispose()
    (folder / "fmx.sqlite3").rename(folder / "elsewhere")
    for rest in folder.glob("fmx.sqlite3*"):
        rest.unlink()
    samples = read(service.client)
    assert value(samples, "fmx_record_up") == 0
    assert not any(name == "fmx_jobs" for name, _ in samples)
    assert any(name == "fmx_http_requests_total" for name, _ in read(service.client))


def test_the_record_is_counted_once_in_a_while(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    counts: list[float] = []

    def count(view: View) -> object:
        counts.append(time.monotonic())
        return read_figures(view)

    monkeypatch.setattr(standing, "read_figures", count)
    began = time.monotonic()
    for _ in range(20):
        read(service.client)
    assert len(counts) <= 1 + (time.monotonic() - began) / standing.KEPT_SECONDS


def test_openmetrics_is_told_to_who_asks_for_it(shared: Service) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    answer = shared.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(answer.text)}
    assert {"fmx_http_requests", "fmx_jobs", "fmx"} <= names
    problem(shared.client.get("/metrics?x=1"), 422, "invalid")


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=x",
        "application/openmetrics-text;version=99.0.0;escaping=zzz",
        "application/openmetrics-text; =; version",
        "text/plain; version=x; escaping=",
        ";;;,,,=;",
        "image/png",
        ",".join(["text/plain;q=0.5"] * 1000),
    ],
    ids=lambda accept: accept[:40],
)
def test_whatever_is_accepted_something_is_told(shared: Service, accept: str) -> None:
    answer = shared.client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    parse = parse_openmetrics if "openmetrics" in accept else text_string_to_metric_families
    assert any(family.name == "fmx_jobs" for family in parse(answer.text)) or "fmx_" in answer.text


def test_workers_are_bounded() -> None:
    told = exposition._bound({f"worker-{n}": n for n in range(1, 6)}, 3)
    assert told == {"worker-5": 5, "worker-4": 4, "worker-3": 3, "other": 3}


def test_streams_are_counted_while_they_last(service: Service) -> None:
    """Here a long download, whose reader takes its time."""
    content = b"x" * 50_000_000  # more than the system keeps for a connection
    job_id = service.run_to_success(job_files={"large.bin": content})
    route = "/v1/jobs/{job_id}/artifacts/{path}"

    def count() -> float:
        return value(read(service.client), "fmx_http_streams", route=route)

    # The system keeps little for a reader that says so: the rest waits in the server.
    options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
    slow = httpx.Client(
        base_url=service.server.url, transport=httpx.HTTPTransport(socket_options=options)
    )
    with slow, slow.stream("GET", f"/v1/jobs/{job_id}/artifacts/large.bin") as answer:
        pieces = answer.iter_raw()  # whose end would end the answer
        next(pieces)
        assert count() == 1
    wait_until(lambda: count() == 0, 10)


def test_each_owner_reads_their_own(
    embedded_column: Column, tmp_path: Path, made: ModelFiles
) -> None:
    settings = embedded_column.settings(port=0, keys="required", lease_seconds=600.0)
    with (
        serve(settings, tmp_path) as service,
        caller(service, "ada") as ada,
        caller(service, "bob") as bob,
        caller(service, "root", Scope.ADMIN) as root,
        caller(service, "eve", Scope.PREDICT) as eve,
    ):
        problem(service.client.get("/metrics"), 401, "no_key")
        problem(eve.get("/metrics"), 403, "missing_scope")
        service.client.headers["Authorization"] = ada.headers["Authorization"]
        job_id = service.run_to_success(files=made.files, model=True)
        (model_id,) = service.get(f"/v1/jobs/{job_id}")["models"]
        assert ada.post(f"/v1/models/{model_id}/predict", json={"images": [IMAGE]}).is_success
        for client, expected in ((ada, 1), (bob, 0), (root, 1)):
            samples = read(client)
            assert value(samples, "fmx_jobs", state="succeeded") == expected
            assert value(samples, "fmx_predicted_pictures_total", model=model_id) == expected
            assert model_id not in client.get("/metrics").text or expected
        assert value(read(root), "fmx_record_bytes") > 0
        assert value(read(bob), "fmx_record_bytes") == 0


def test_metrics_may_be_open(embedded_column: Column, tmp_path: Path) -> None:
    settings = embedded_column.settings(port=0, keys="required", open_metrics=True)
    with serve(settings, tmp_path) as service, caller(service, "ada") as ada:
        ada.post("/v1/jobs", json={"kind": "q1"})
        assert value(read(service.client), "fmx_jobs", state="queued") == 1
        problem(service.client.post("/metrics"), 401, "no_key")
        problem(service.client.get("/v1/jobs"), 401, "no_key")
