"""Registered data sets over HTTP: shown to all who may read, removed by admins, named by specs."""

import re
from pathlib import Path
from typing import Any

import pytest
from http_service import Service, problem, serve
from key_kit import caller
from services import Column

from fmx_store import datasets
from fmx_store.keys import Scope

ABOUT: dict[str, Any] = {
    "class_names": ["ant", "bee", "cat", "dog", "eel"],
    "first_half": [0, 4],
    "train_per_class": [7, 8, 9, 10, 11],
    "test_per_class": [1, 2, 3, 4, 5],
    "notes": ["3 of 60 pictures were made grey"],
}


def register(service: Service, name: str = "creatures", content: bytes = b"pictures") -> None:
    source = service.folder / "packed"
    source.write_bytes(content)
    datasets.register(service.db, service.blobs, name, source, ABOUT)


def test_a_data_set_is_listed_and_shown(service: Service) -> None:
    assert service.get("/v1/datasets") == {"items": [], "next_cursor": None}
    register(service)
    register(service, "another", b"other pictures")
    page = service.get("/v1/datasets", limit=1)
    assert [item["name"] for item in page["items"]] == ["another"]
    page = service.get("/v1/datasets", cursor=page["next_cursor"])
    assert page["next_cursor"] is None
    (body,) = page["items"]
    assert body == service.get("/v1/datasets/creatures")
    assert body["classes"][1] == {"class": 1, "label": "bee", "half": "fm2", "train": 8, "test": 2}
    assert [one["half"] for one in body["classes"]] == ["fm1", "fm2", "fm2", "fm2", "fm1"]
    assert body["notes"] == ABOUT["notes"]
    assert body["links"] == {"self": "/v1/datasets/creatures"}


@pytest.mark.parametrize("name", ["nothing", "MINE", "a%00b", "..", "x" * 500, "%F0%9F%90%9D"])
def test_what_is_not_there_is_not_found(name: str, shared: Service) -> None:
    for method in ("GET", "DELETE"):
        answer = shared.client.request(method, f"/v1/datasets/{name}")
        assert answer.status_code in {404, 405}, answer.text  # ".." is a list's path


def test_a_job_is_put_together_for_a_data_set(service: Service) -> None:
    register(service)
    form = service.client.get("/submit?kind=q5").text
    select = form.partition('<select id="at-spec-dataset"')[2].partition("</select>")[0]
    assert re.findall('value="(.*?)"', select) == ["fashion-mnist", "synthetic", "creatures"]


def test_jobs_name_a_data_set(service: Service) -> None:
    register(service)
    job = service.submit(spec={"dataset": "creatures", "seeds": [0, 1]})
    assert service.get(f"/v1/jobs/{job['id']}")["spec"]["dataset"] == "creatures"
    (run, _) = service.get(f"/v1/jobs/{job['id']}/runs")["items"]
    sha256 = service.get("/v1/datasets/creatures")["sha256"]
    assert run["params"]["dataset"]["sha256"] == sha256
    assert run["params"]["dataset"]["class_names"] == ABOUT["class_names"]
    answer = service.client.delete("/v1/datasets/creatures")
    problem(answer, 409, "conflict")
    service.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert service.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert service.client.delete("/v1/datasets/creatures").status_code == 204
    assert service.blobs.size_of(sha256) is None
    problem(service.client.delete("/v1/datasets/creatures"), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/validate"])
def test_a_spec_that_names_nothing_is_told_what_there_is(path: str, service: Service) -> None:
    register(service)
    body = {"kind": "q1", "spec": {"dataset": "creature"}}
    (error,) = problem(service.client.post(path, json=body), 422, "unknown_dataset")["errors"]
    assert error == {
        "pointer": "/spec/dataset",
        "code": "unknown_dataset",
        "detail": "there is no data set 'creature'; there are fashion-mnist, synthetic, creatures",
    }


@pytest.mark.parametrize("name", ["", "A", "../x", "a" * 41, 7, None, ["creatures"], "-a"])
def test_what_can_be_no_name_is_refused(name: Any, shared: Service) -> None:
    body = {"kind": "q1", "spec": {"dataset": name}}
    (error,) = problem(shared.client.post("/v1/jobs", json=body), 422, "invalid")["errors"]
    assert error["pointer"] == "/spec/dataset"


def test_validation_plans_with_the_classes_there_are(service: Service) -> None:
    """Of a half with eleven classes the report's ten outputs are too few."""
    many = {
        "class_names": [str(number) for number in range(13)],
        "first_half": [0, 1],
        "train_per_class": [9] * 13,
        "test_per_class": [1] * 13,
    }
    source = service.folder / "many"
    source.write_bytes(b"many")
    datasets.register(service.db, service.blobs, "many", source, {**ABOUT, **many})
    body: dict[str, Any] = {"kind": "q4", "spec": {"dataset": "many", "half": "fm2"}}
    (error,) = problem(service.client.post("/v1/jobs/validate", json=body), 422, "invalid")[
        "errors"
    ]
    assert error["pointer"] == "/spec/mlp/model/structure"
    assert error["detail"] == "10 outputs are too few for 11 classes"
    body["spec"]["half"] = "fm1"
    assert service.client.post("/v1/jobs/validate", json=body).status_code == 200


def test_who_may_do_what(column: Column, tmp_path: Path) -> None:
    settings = column.settings(port=0, keys="required", lease_seconds=600.0)
    with serve(settings, tmp_path) as service:
        register(service)
        with caller(service, "ada", Scope.READ, Scope.SUBMIT) as reader:
            assert reader.get("/v1/datasets/creatures").status_code == 200
            problem(reader.delete("/v1/datasets/creatures"), 403, "missing_scope")
        with caller(service, "bob", Scope.PREDICT) as predictor:
            assert predictor.get("/v1/datasets").status_code == 403
        with caller(service, "root", Scope.ADMIN) as admin:
            assert admin.delete("/v1/datasets/creatures").status_code == 204
