"""From POST to prediction, through the real server and a real worker, on real Fashion-MNIST."""

import csv
import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Generator
from typing import Any

import httpx
import numpy as np
import pytest
from ml_cases import miss
from PIL import Image
from safetensors.numpy import load
from services import Column
from stack import (
    Process,
    job_of,
    processes_of,
    running,
    serve,
    submit,
    trainers_at_work,
    wait_for_end,
    wait_until,
)

from fmx_ml.data import fashion_mnist
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import DataUnavailableError
from fmx_store.settings import get_settings

EPOCHS = 5
NUM_PICTURES = 200
CANCEL_SECONDS = 5.0


@pytest.fixture(scope="module", autouse=True)
def real_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    """These tests train on the real pictures."""
    cache = tmp_path_factory.mktemp("cache")
    try:
        fashion_mnist.load(DataSources(get_settings().dataset_dir, cache, download=False))
    except DataUnavailableError as error:
        miss(str(error))


@pytest.fixture
def stack(column: Column) -> Generator[tuple[Process, httpx.Client]]:
    with serve(column) as (process, client):
        yield process, client


def artifact(client: httpx.Client, job_id: str, path: str) -> bytes:
    return client.get(f"/v1/jobs/{job_id}/artifacts/{path}").raise_for_status().content


def post_with_curl(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """Submits a job as a user of the command line does."""
    url = client.base_url.join("/v1/jobs")
    header = "Content-Type: application/json"
    command = ["curl", "-s", str(url), "-H", header, "-d", json.dumps(body)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_a_job_trains_and_its_model_predicts(
    stack: tuple[Process, httpx.Client], column: Column
) -> None:
    process, client = stack
    job = post_with_curl(client, {"kind": "q1", "preset": "quick", "spec": {"max_epochs": EPOCHS}})
    second = submit(client, spec={"max_epochs": 400})
    seen = watch_progress(client, job["id"], second)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, "progress moves while it trains"

    body = job_of(client, job["id"])
    assert body["state"] == "succeeded", body
    assert (body["runs"]["succeeded"], len(body["models"])) == (1, 1)
    summary = only_run(client, job["id"])["summary"]
    assert summary["test_accuracy"] > 0.9, "five epochs on real pictures learn this much"
    check_results(client, job["id"], summary)
    check_metrics(client, only_run(client, job["id"])["id"], EPOCHS)
    check_artifacts(client, job["id"])
    check_predictions(client, job["id"], body["models"][0])
    cancel_the_running_one(client, second, column)

    assert process.stop() == 0
    assert processes_of(column.data_dir) == []


def watch_progress(client: httpx.Client, job_id: str, second: str) -> list[int]:
    """The epochs that a poll saw, until the job has ended; the second one waits its turn."""
    seen: list[int] = []

    def ended() -> bool:
        body = job_of(client, job_id)
        seen.append(body["progress"]["completed"])
        if body["state"] == "running":
            assert job_of(client, second)["runs"]["running"] == 0
        return body["state"] not in {"queued", "running"}

    wait_until(ended, 120, lambda: job_of(client, job_id))
    return seen


def only_run(client: httpx.Client, job_id: str) -> dict[str, Any]:
    (run,) = client.get(f"/v1/jobs/{job_id}/runs").raise_for_status().json()["items"]
    return run


def check_results(client: httpx.Client, job_id: str, summary: dict[str, Any]) -> None:
    results = client.get(f"/v1/jobs/{job_id}/results").raise_for_status().json()
    comparisons = {c["id"]: c for c in results["comparisons"]}
    published = {"train": 0.9890, "val": 0.9832, "test": 0.9816}
    for part, figure in published.items():
        comparison = comparisons[f"q1.accuracy.{part}"]
        assert comparison["published"] == figure
        assert comparison["ours"]["values"] == [summary[f"{part}_accuracy"]]
        assert comparison["verdict"] == "not_comparable"
        assert comparison["reason"]
    assert np.trace(summary["confusion"]) / 5000 == pytest.approx(summary["test_accuracy"])


def check_metrics(client: httpx.Client, run_id: str, epochs: int) -> None:
    metrics = client.get(f"/v1/runs/{run_id}/metrics").raise_for_status().json()
    assert [row[0] for row in metrics["rows"]] == list(range(1, epochs + 1))
    text = client.get(f"/v1/runs/{run_id}/metrics", params={"format": "csv"}).text
    table = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["val_loss"]) for row in table] == [
        row[metrics["columns"].index("val_loss")] for row in metrics["rows"]
    ]


def check_artifacts(client: httpx.Client, job_id: str) -> None:
    items = client.get(f"/v1/jobs/{job_id}/artifacts").raise_for_status().json()["items"]
    listed = {item["path"]: item for item in items}
    figures = {"figure-1-loss", "figure-2-accuracy", "figure-3-confusion"}
    wanted = {f"{name}.{suffix}" for name in figures for suffix in ("png", "svg", "csv")}
    run_files = {"model.safetensors", "model.json", "model.onnx", "log.txt", "history.csv"}
    assert wanted | {"samples.png", "manifest.json"} <= listed.keys()
    assert {f"seed-0/{name}" for name in run_files} <= listed.keys()
    archive = client.get(f"/v1/jobs/{job_id}/artifacts.zip").raise_for_status().content
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        assert set(zipped.namelist()) == listed.keys()
        for path, item in listed.items():
            assert hashlib.sha256(zipped.read(path)).hexdigest() == item["sha256"], path
    picture = Image.open(io.BytesIO(artifact(client, job_id, "figure-1-loss.png")))
    assert min(picture.size) > 300


def check_predictions(client: httpx.Client, job_id: str, model_id: str) -> None:
    """Test pictures saved as PNG and uploaded get the answers that the run itself recorded."""
    images = load(artifact(client, job_id, "seed-0/test-set.safetensors"))["images"]
    recorded = artifact(client, job_id, "seed-0/test-predictions.csv").decode()
    rows = list(csv.DictReader(io.StringIO(recorded)))
    card = json.loads(artifact(client, job_id, "seed-0/model.json"))
    chosen = np.random.default_rng(0).choice(len(rows), NUM_PICTURES, replace=False).tolist()
    answered: list[dict[str, Any]] = []
    for start in range(0, NUM_PICTURES, 50):
        files = [("files", (f"{i}.png", png(images[i]))) for i in chosen[start : start + 50]]
        answer = client.post(f"/v1/models/{model_id}/predict", files=files).raise_for_status()
        answered += answer.json()["predictions"]
    expected = [card["class_names"][int(rows[i]["predicted"])] for i in chosen]
    assert [prediction["label"] for prediction in answered] == expected
    for i, prediction in zip(chosen, answered, strict=True):
        probability = float(rows[i]["probability"])
        assert max(prediction["probabilities"].values()) == pytest.approx(probability, abs=1e-4)
    by_row = client.post(f"/v1/models/{model_id}/predict", json={"test_rows": chosen[:64]}).json()
    assert [p["label"] for p in by_row["predictions"]] == expected[:64]
    pixels = {"images": [images[i].tolist() for i in chosen[:8]]}
    by_pixel = client.post(f"/v1/models/{model_id}/predict", json=pixels).json()
    assert [p["label"] for p in by_pixel["predictions"]] == expected[:8]


def png(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def cancel_the_running_one(client: httpx.Client, job_id: str, column: Column) -> None:
    wait_until(lambda: job_of(client, job_id)["progress"]["completed"] > 0, 60)
    assert trainers_at_work(column.data_dir)
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == httpx.codes.ACCEPTED
    wait_until(lambda: job_of(client, job_id)["state"] == "cancelled", CANCEL_SECONDS)
    wait_until(lambda: not trainers_at_work(column.data_dir), CANCEL_SECONDS)
    assert job_of(client, job_id)["reason"] == "cancelled_by_user"


def test_killing_the_server_or_the_worker_loses_nothing(column: Column) -> None:
    environment = column.process_environment(port=0, heartbeat_seconds=0.3, lease_seconds=1.5)
    with running(["worker"], environment) as worker:
        with running(["api"], environment) as api, client_of(api) as client:
            job_id = submit(client, spec={"max_epochs": 8}, tags=["kept"])
            queued = submit(client, preset="quick", spec={"max_epochs": 1})
            wait_until(lambda: job_of(client, job_id)["progress"]["completed"] > 0, 60)
            api.kill()
        with running(["api"], environment) as api, client_of(api) as client:
            body = job_of(client, job_id)
            assert (body["state"], body["tags"]) == ("running", ["kept"])
            worker.kill()
            wait_until(lambda: not processes_of(column.data_dir), 10)
            with running(["worker"], environment):
                assert wait_for_end(client, job_id)["state"] == "succeeded"
                assert wait_for_end(client, queued)["state"] == "succeeded"
            run = only_run(client, job_id)
            assert run["attempt"] == 2
            check_metrics(client, run["id"], 8)


def client_of(api: Process) -> httpx.Client:
    url = api.wait_for(r"listens on (http://\S+)")[1]
    return httpx.Client(base_url=url, timeout=30)
