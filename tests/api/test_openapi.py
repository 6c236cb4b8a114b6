"""The OpenAPI document: complete, true to the server, and its examples work."""

import json
import re
from typing import Any

import pytest
from http_service import Service
from model_files import make_model_files
from pydantic import BaseModel

from api import schemas
from api.error_table import TABLE
from api.inference import repository_schemas
from api.inference import schemas as inference_schemas
from api.main import create_app
from api.mlflow import schemas as mlflow_schemas
from api.openapi import KEY_SCHEME
from api.permissions import OPEN_PATHS, PERMISSIONS
from api.predict import schemas as predict_schemas
from fmx_store.settings import Settings

METHODS = {"get", "post", "put", "patch", "delete"}

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
KEYED: dict[str, Any] = create_app(Settings(keys="required")).openapi()
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
IDS = [f"{method} {path}" for path, method, _ in OPERATIONS]
PATHS = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/kinds",
    "/v1/kinds/{kind}",
    "/v1/jobs",
    "/v1/jobs/validate",
    "/v1/jobs/{job_id}",
    "/v1/jobs/{job_id}/cancel",
    "/v1/jobs/{job_id}/retry",
    "/v1/jobs/{job_id}/events",
    "/v1/jobs/{job_id}/logs",
    "/v1/jobs/{job_id}/runs",
    "/v1/jobs/{job_id}/metrics",
    "/v1/jobs/{job_id}/results",
    "/v1/jobs/{job_id}/manifest",
    "/v1/jobs/{job_id}/artifacts",
    "/v1/jobs/{job_id}/artifacts/{path}",
    "/v1/jobs/{job_id}/artifacts.zip",
    "/v1/runs/{run_id}",
    "/v1/runs/{run_id}/metrics",
    "/v1/models",
    "/v1/models/aliases",
    "/v1/models/aliases/{name}",
    "/v1/models/{model_id}",
    "/v1/models/{model_id}/predict",
    "/v1/models/{model_id}/feature-maps",
    "/v1/jobs/{job_id}/tensorboard.zip",
    "/v1/datasets",
    "/v1/datasets/{name}",
    "/mlflow/api/2.0/mlflow/experiments/search",
    "/mlflow/api/2.0/mlflow/experiments/get",
    "/mlflow/api/2.0/mlflow/experiments/get-by-name",
    "/mlflow/api/2.0/mlflow/runs/search",
    "/mlflow/api/2.0/mlflow/logged-models/search",
    "/mlflow/api/2.0/mlflow/runs/get",
    "/mlflow/api/2.0/mlflow/metrics/get-history",
    "/mlflow/api/2.0/mlflow/artifacts/list",
    "/mlflow/api/2.0/mlflow-artifacts/artifacts",
    "/mlflow/api/2.0/mlflow-artifacts/artifacts/{path}",
    "/v1/reports/report.{form}",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model_id}",
    "/v2/models/{model_id}/ready",
    "/v2/models/{model_id}/infer",
    "/v2/models/{model_id}/config",
    "/v2/models/{model_id}/stats",
    "/v2/models/stats",
    "/v2/repository/index",
    "/v2/repository/models/{model_id}/load",
    "/v2/repository/models/{model_id}/unload",
}
BODIES = {
    **vars(inference_schemas),
    **vars(mlflow_schemas),
    **vars(repository_schemas),
    **vars(predict_schemas),
    **vars(schemas),
}


def test_the_document_is_served(shared: Service) -> None:
    answer = shared.client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == PATHS
    assert "HTTPValidationError" not in answer.text


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert "Q1Request" in names
    assert names <= set(DOCUMENT["components"]["schemas"])
    assert "#/$defs" not in text


def test_operations_have_names_of_their_own() -> None:
    identities = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(identities)) == len(identities)
    summaries = [operation["summary"] for _, _, operation in OPERATIONS]
    assert len(set(summaries)) == len(summaries)


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=IDS)
def test_every_operation_is_described(path: str, method: str, operation: dict[str, Any]) -> None:
    assert method in METHODS
    assert operation["summary"]
    assert operation["tags"]
    for parameter in operation.get("parameters", []):
        assert parameter["in"] in {"path", "query", "header"}
        if parameter["in"] != "path" or path != "/v1/kinds/{kind}":
            assert parameter.get("description") or parameter["schema"], parameter
    responses = operation["responses"]
    for status in ("422", "500", "503"):
        assert status in responses
    for status, response in responses.items():
        assert response["description"]
        if int(status) >= 400 and (path, status) != ("/readyz", "503"):
            (media_type, content), *rest = response["content"].items()
            assert (media_type, rest) == ("application/problem+json", [])
            assert content["example"]["status"] == int(status)
            schemas.ProblemBody.model_validate(content["example"])
    body = operation.get("requestBody")
    if body:
        assert body["required"] is not path.startswith("/v2/repository")
        assert body["content"]["application/json"]["examples"]


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=IDS)
def test_examples_of_answers_fit_their_schemas(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    del method
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get("application/json")
        if int(status) >= 400 or content is None:
            continue
        reference = content["schema"].get("$ref", "")
        if not reference:
            assert path.endswith("/manifest")
            continue
        model = BODIES[reference.rpartition("/")[2]]
        assert issubclass(model, BaseModel)
        checked = model.model_validate(content["example"])
        shown = json.loads(checked.model_dump_json(by_alias=True, exclude_unset=True))
        if isinstance(shown, list):
            assert shown == content["example"]
        else:
            assert set(shown) == set(content["example"])


def request_examples(path: str) -> list[Any]:
    body = DOCUMENT["paths"][path]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]
    return [example["value"] for example in examples.values()]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/validate"])
def test_examples_of_jobs_work(shared: Service, path: str) -> None:
    for example in request_examples(path):
        answer = shared.client.post(path, json=example)
        assert answer.is_success, answer.text


@pytest.mark.parametrize("what", ["experiments", "runs"])
def test_examples_of_searches_work(shared: Service, what: str) -> None:
    path = f"/mlflow/api/2.0/mlflow/{what}/search"
    for example in request_examples(path):
        answer = shared.client.post(path, json=example)
        assert answer.is_success, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/{model_id}/predict",
        "/v1/models/{model_id}/feature-maps",
        "/v2/models/{model_id}/infer",
    ],
)
def test_examples_of_pictures_work(
    service: Service, tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    made = make_model_files(tmp_path_factory.mktemp("model"), "fm1", seed=0)
    job_id = service.run_to_success(files=made.files, model=True)
    model_id = service.get(f"/v1/jobs/{job_id}")["models"][0]
    for example in request_examples(path):
        answer = service.client.post(path.format(model_id=model_id), json=example)
        assert answer.is_success, answer.text


def test_real_answers_have_the_members_of_the_examples(shared: Service) -> None:
    """So that no example tells of a member that the server does not send, or leaves one out."""
    job = shared.submit(name="x")
    for path, concrete in (
        ("/v1/kinds", "/v1/kinds"),
        ("/v1/kinds/{kind}", "/v1/kinds/q1"),
        ("/v1/jobs/{job_id}", job["links"]["self"]),
        ("/v1/jobs/{job_id}/manifest", job["links"]["manifest"]),
        ("/v1/jobs/{job_id}/runs", job["links"]["runs"]),
        ("/readyz", "/readyz"),
    ):
        responses = DOCUMENT["paths"][path]["get"]["responses"]
        example = responses["200"]["content"]["application/json"]["example"]
        real = shared.get(concrete)
        assert set(real) == set(example), path
        for shown, told in zip(real.get("items", []), example.get("items", []), strict=False):
            assert set(shown) == set(told), path


def test_every_error_of_the_record_has_its_status() -> None:
    """An error that the table does not know would be a 500."""
    from fmx_store import errors  # noqa: PLC0415 - looked through, not used

    known = {
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.StoreError)
    }
    workers_own = {errors.StoreError, errors.LeaseLostError}
    for error in known - workers_own:
        assert any(kind in TABLE for kind in error.__mro__), error


def test_a_kind_is_told_in_full(shared: Service) -> None:
    body = shared.get("/v1/kinds/q1")
    assert body["kind"] == "q1"
    assert body["schema"]["properties"]["kind"]["const"] == "q1"
    assert body["schema"]["additionalProperties"] is False
    assert body["defaults"]["spec"]["max_epochs"] == 450
    assert body["presets"]["report"] == {}
    assert body["presets"]["quick"]["max_epochs"] > 0
    assert body["published"]["accuracy"]["test"] == 0.9816
    submitted = shared.client.post("/v1/jobs", json=body["defaults"])
    assert submitted.json()["spec"] == body["defaults"]["spec"]


def test_validating_tells_what_a_job_would_be(service: Service) -> None:
    request: dict[str, Any] = {"kind": "q1", "spec": {"seeds": [4, 2], "max_epochs": 10}}
    answer = service.client.post("/v1/jobs/validate", json=request)
    assert answer.status_code == 200
    body = answer.json()
    assert [run["name"] for run in body["runs"]] == ["seed-4", "seed-2"]
    assert [run["max_epochs"] for run in body["runs"]] == [10, 10]
    assert body["runs"][0]["params"]["seed"] == 4
    assert body["estimate"]["epochs_at_most"] == 20
    assert body["estimate"]["seconds_at_most"] is None
    assert service.get("/v1/jobs")["items"] == []
    job = service.submit(spec=request["spec"])
    assert (job["spec"], job["spec_hash"]) == (body["spec"], body["spec_hash"])
    service.client.post(f"/v1/jobs/{job['id']}/cancel")

    # Two epochs of half a second have been trained of this network.
    service.run_to_success()
    body = service.client.post("/v1/jobs/validate", json=request).json()
    assert body["estimate"]["seconds_at_most"] == 10.0
    request["spec"] = {"model": {"conv_layers": 1}}
    body = service.client.post("/v1/jobs/validate", json=request).json()
    assert body["estimate"]["seconds_at_most"] is None


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=IDS)
def test_every_operation_says_which_scope_it_needs(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    scope = PERMISSIONS[operation["operationId"]].scope
    needed: list[dict[str, list[str]]] = [{KEY_SCHEME: [] if scope is None else [str(scope)]}]
    assert operation["security"] == [*needed, {}], "keys are off on this machine alone"
    with_keys = KEYED["paths"][path][method]["security"]
    assert with_keys == ([*needed, {}] if path in OPEN_PATHS else needed)
    assert {"401", "403", "429"} <= operation["responses"].keys()
    assert DOCUMENT["components"]["securitySchemes"][KEY_SCHEME]["scheme"] == "bearer"
