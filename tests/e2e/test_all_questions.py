"""Every question from POST to its tables and figures, by two workers, then all as one report."""

import itertools
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from ml_cases import miss
from services import Column
from stack import job_of, running, serve, submit, wait_for_end, wait_until

from fmx_ml.data import fashion_mnist
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import DataUnavailableError
from fmx_store.settings import get_settings

FIGURES = {
    "q1": {"1", "2", "3"},
    "q2": {"4"},
    "q3": {str(number) for number in range(5, 16)},
    "q4": {"16"},
    "q5": {"17", "18", "19", "20"},
}
TABLES = {
    "q1": {"accuracies", "per_class", "runs"},
    "q2": {"table_3", "models", "choice", "statements", "runs"},
    "q3": {"validation", "filters", "runs"},
    "q4": {"autoencoders", "encoders", "table_4", "shares", "differences", "runs"},
    "q5": {"fmnist2_initial", "fmnist2_best", "fmnist1", "shares", "differences", "runs"},
}
JOB_SECONDS = 280


@pytest.fixture(scope="module", autouse=True)
def real_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    """These tests train on the real pictures."""
    cache = tmp_path_factory.mktemp("cache")
    try:
        fashion_mnist.load(DataSources(get_settings().dataset_dir, cache, download=False))
    except DataUnavailableError as error:
        miss(str(error))


@pytest.fixture
def client(column: Column) -> Generator[httpx.Client]:
    """A server with two workers of one thread."""
    with serve(column, worker_threads=1) as (_, http):
        environment = column.process_environment(worker_threads=1)
        with running(["worker"], environment) as second:
            second.wait_for("ready")
            yield http


@pytest.mark.timeout(1800)
def test_every_question_is_answered(client: httpx.Client) -> None:
    done = {kind: ask(client, kind) for kind in FIGURES}
    check_side_by_side(client, done["q2"])
    check_report(client, list(done.values()))
    check_determinism(client)


def ask(client: httpx.Client, kind: str) -> str:
    """The quick preset of a kind, until it has ended well with all that it should leave."""
    job_id = submit(client, kind=kind, preset="quick")
    body = wait_for_end(client, job_id, JOB_SECONDS)
    assert body["state"] == "succeeded", body
    assert body["runs"]["succeeded"] == sum(body["runs"].values())
    results = client.get(f"/v1/jobs/{job_id}/results").raise_for_status().json()
    assert {figure["number"] for figure in results["figures"]} >= FIGURES[kind]
    assert {table["name"] for table in results["tables"]} >= TABLES[kind]
    assert {c["verdict"] for c in results["comparisons"]} == {"not_comparable"}
    for figure in results["figures"]:
        for path in figure["artifacts"]:
            head = client.head(f"/v1/jobs/{job_id}/artifacts/{path}").raise_for_status()
            assert int(head.headers["content-length"]) > 0
    return job_id


def check_side_by_side(client: httpx.Client, job_id: str) -> None:
    """Two runs of the job were trained at the same time, by different workers."""
    runs = client.get(f"/v1/jobs/{job_id}/runs").raise_for_status().json()["items"]
    spans = sorted((run["started_at"], run["finished_at"]) for run in runs)
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))


def check_report(client: httpx.Client, job_ids: list[str]) -> None:
    """One document of all five, that says it is a smoke run; the newest of each without ids."""
    jobs = ",".join(job_ids)
    page = client.get("/v1/reports/report.html", params={"jobs": jobs}).raise_for_status()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "smoke run" in page.text.lower()
    for number in range(1, 21):
        assert f"Figure {number}" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    pdf = client.get("/v1/reports/report.pdf", params={"jobs": jobs}, timeout=120)
    assert pdf.raise_for_status().content.startswith(b"%PDF-")
    text = client.get("/v1/reports/report.md").raise_for_status().text
    assert "0.9816" in text


def check_determinism(client: httpx.Client) -> None:
    """The same spec and seed give the same metrics to the last bit."""
    spec = {"max_epochs": 2, "fraction_percent": 10, "seeds": [5]}
    histories = [metrics_of(client, submit(client, spec=spec)) for _ in range(2)]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 2


def metrics_of(client: httpx.Client, job_id: str) -> list[list[Any]]:
    """The epochs of the job's only run, without the seconds that they took."""
    assert wait_for_end(client, job_id)["state"] == "succeeded"
    (run,) = client.get(f"/v1/jobs/{job_id}/runs").json()["items"]
    metrics = client.get(f"/v1/runs/{run['id']}/metrics").raise_for_status().json()
    seconds = metrics["columns"].index("seconds")
    return [row[:seconds] + row[seconds + 1 :] for row in metrics["rows"]]


def test_a_run_that_does_not_exist_is_named(column: Column) -> None:
    missing = "01JX0000000000000000000000"
    with serve(column) as (_, client):
        for kind, field in (("q4", "encoder_run"), ("q5", "source_run")):
            body = {"kind": kind, "spec": {field: missing}}
            for path in ("/v1/jobs", "/v1/jobs/validate"):
                answer = client.post(path, json=body)
                assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
                (error,) = answer.json()["errors"]
                assert error["pointer"] == f"/spec/{field}"
                assert error["code"] == "unknown_run"


def test_another_jobs_run_is_transferred_from(column: Column) -> None:
    """The source lives on in the job that took it over, when its own job is deleted."""
    model = {"conv_layers": 1, "dense_layers": 3}
    small = {"max_epochs": 1, "fraction_percent": 4}
    with serve(column, worker_threads=1) as (_, client):
        source = submit(client, spec={**small, "half": "fm2", "model": model})
        assert wait_for_end(client, source)["state"] == "succeeded"
        (run,) = client.get(f"/v1/jobs/{source}/runs").json()["items"]
        spec = {"max_epochs": 1, "fractions": [2], "starts": ["frozen"], "source_run": run["id"]}
        job = submit(client, kind="q5", spec=spec)
        assert client.delete(f"/v1/jobs/{source}").status_code == httpx.codes.NO_CONTENT
        body = wait_until(lambda: _ended(client, job), 200)
        assert body["state"] == "succeeded", body
        names = [item["name"] for item in client.get(f"/v1/jobs/{job}/runs").json()["items"]]
        assert names[0] == "source-taken"


def _ended(client: httpx.Client, job_id: str) -> dict[str, Any] | None:
    body = job_of(client, job_id)
    return body if body["state"] in {"succeeded", "failed", "cancelled"} else None
