"""Data sets of one's own, from the command line to predictions, through real processes."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from own_pictures import draw_digits, write_folder, write_idx
from services import Column
from stack import fmx_data, serve, submit, wait_for_end

# Small enough for seconds: a few hundred pictures.
TINY: dict[str, dict[str, Any]] = {
    "q1": {"max_epochs": 12, "optimiser": {"learning_rate": 0.1}, "batch_size": 20},
    "q2": {"max_epochs": 1, "fraction_percent": 10},
    "q3": {"max_epochs": 2, "half": "fm2"},
    "q4": {"fractions": [20], "sweep_epochs": 1, "half": "fm2"},
    "q5": {"fractions": [20, 100], "max_epochs": 2},
}


@pytest.fixture
def client(column: Column, tmp_path: Path) -> Generator[httpx.Client]:
    """A server with a worker, and two data sets that it knows."""
    with serve(column, worker_threads=1) as (_, http):
        told = fmx_data(column, "register", "digits", "--idx", str(write_idx(tmp_path / "idx")))
        assert told.returncode == 0, told.stderr
        pictures = str(write_folder(tmp_path / "pictures"))
        told = fmx_data(
            column, "register", "creatures", "--folder", pictures, "--first-half", "0,1", "--json"
        )
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["first_half"] == [0, 1]
        yield http


def run(client: httpx.Client, kind: str, dataset: str) -> tuple[str, dict[str, Any]]:
    """The id and results of a tiny job."""
    spec = {**TINY[kind], "dataset": dataset}
    job_id = submit(client, kind=kind, preset="quick", spec=spec)
    body = wait_for_end(client, job_id)
    assert body["state"] == "succeeded", body
    results = client.get(f"/v1/jobs/{job_id}/results").raise_for_status().json()
    assert results["dataset"] == dataset
    for table in results["tables"]:
        assert dataset in table["title"]
    for figure in results["figures"]:
        assert dataset in figure["title"]
    assert {comparison["verdict"] for comparison in results["comparisons"]} == {"not_comparable"}
    reasons = [comparison["reason"] for comparison in results["comparisons"]]
    assert any(f"the data set is {dataset}" in reason for reason in reasons), reasons
    return job_id, results


@pytest.mark.parametrize("column", ["embedded"], indirect=True)
@pytest.mark.timeout(600)
def test_every_question_learns_from_pictures_of_ones_own(
    client: httpx.Client, column: Column
) -> None:
    digits, _ = run(client, "q1", "digits")
    check_digits(client, digits)
    _, filters = run(client, "q3", "creatures")
    numbers = [figure["number"] for figure in filters["figures"]]
    assert [number for number in numbers if number.startswith("maps")] == [
        "maps-0",
        "maps-1",
        "maps-2",
    ]
    run(client, "q2", "creatures")
    run(client, "q4", "creatures")
    run(client, "q5", "creatures")
    check_names_stay(client, column, digits)


def check_digits(client: httpx.Client, job_id: str) -> None:
    """It has learnt them: the model of its run says which digit a new picture shows."""
    manifest = client.get(f"/v1/jobs/{job_id}/manifest").raise_for_status().json()
    known = client.get("/v1/datasets/digits").raise_for_status().json()
    assert manifest["data"][0]["checksums"] == {"digits.safetensors": known["sha256"]}
    assert manifest["runs"][0]["training"]["dataset"]["sha256"] == known["sha256"]
    (model,) = client.get("/v1/models", params={"job": job_id}).json()["items"]
    assert [one["label"] for one in model["classes"]] == list("01234")
    images, labels = draw_digits(50, seed=99)
    mine = labels < 5
    body = {"images": images[mine].tolist()}
    answer = client.post(f"/v1/models/{model['id']}/predict", json=body).raise_for_status().json()
    said = [prediction["class"] for prediction in answer["predictions"]]
    hits = sum(one == label for one, label in zip(said, labels[mine].tolist(), strict=True))
    assert hits >= 20, said


def check_names_stay(client: httpx.Client, column: Column, job_id: str) -> None:
    """What jobs use is kept; what none uses goes."""
    refused = client.delete("/v1/datasets/digits")
    assert refused.status_code == httpx.codes.CONFLICT, refused.text
    assert "jobs use the data set" in refused.json()["detail"]
    assert fmx_data(column, "remove", "digits").returncode == 1
    assert client.delete(f"/v1/jobs/{job_id}").status_code == httpx.codes.NO_CONTENT
    assert client.delete("/v1/datasets/digits").status_code == httpx.codes.NO_CONTENT
    answer = client.post("/v1/jobs", json={"kind": "q1", "spec": {"dataset": "digits"}})
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/spec/dataset"
    assert "there are fashion-mnist, synthetic, creatures" in error["detail"]
