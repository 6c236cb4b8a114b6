"""The repository of models over HTTP: what is asked for, and what is no question at all."""

import httpx
import pytest
from http_service import Service, serve
from key_kit import caller
from model_files import ModelFiles
from services import Column

from api.routes import repository

INDEX = "/v2/repository/index"
TENSOR = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}


@pytest.fixture(scope="module")
def paths(model_id: str) -> list[str]:
    """Every path that takes a body which may be left out."""
    return [INDEX, *(f"/v2/repository/models/{model_id}/{end}" for end in ("load", "unload"))]


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["error"]


def test_a_body_may_be_left_out_and_need_not_say_its_type(
    shared: Service, paths: list[str]
) -> None:
    for path in paths:
        for content in (b"", b"{}"):
            answer = shared.client.post(path, content=content)
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "bad_json"),
        (b"\xff", 400, "bad_json"),
        (b"[" * 1000, 400, "bad_json"),
        (b'{"a": 1, "a": 2}', 400, "bad_json"),
        (b"[]", 422, "invalid"),
        (b"null", 422, "invalid"),
        (b'"text"', 422, "invalid"),
        (b'{"more": 1}', 422, "invalid"),
        (b'{"parameters": []}', 422, "invalid"),
        (b'{"parameters": {"config": "{}"}}', 422, "invalid"),
        (b'{"parameters": {"file:1/model.onnx": "AAAA"}}', 422, "invalid"),
        (b'{"ready": "yes"}', 422, "invalid"),
        (b" " * 70_000, 413, "too_large"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_question_is_refused(
    shared: Service, paths: list[str], content: bytes, status: int, code: str
) -> None:
    for path in paths:
        refused(shared.client.post(path, content=content), status, code)


def test_models_and_versions_that_are_not_there(shared: Service) -> None:
    for end in ("load", "unload"):
        refused(shared.client.post(f"/v2/repository/models/none/{end}"), 404, "not_found")
    assert shared.client.get(INDEX).status_code == 405
    refused(shared.client.post(f"{INDEX}?ready=true"), 422, "invalid")


def test_an_unloaded_model_answers_again(shared: Service, model_id: str) -> None:
    for _ in range(3):
        answer = shared.client.post(f"/v2/repository/models/{model_id}/unload")
        assert answer.status_code == 200
        assert model_id not in shared.app.state.services.roster.loaded_ids()
        answer = shared.client.post(f"/v2/models/{model_id}/infer", json={"inputs": [TENSOR]})
        assert answer.status_code == 200
        assert model_id in shared.app.state.services.roster.loaded_ids()


def test_an_index_has_the_newest(
    service: Service, made: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "INDEX_MODELS", 2)
    ids = [
        service.get(f"/v1/jobs/{service.run_to_success(files=made.files, model=True)}")["models"][0]
        for _ in range(3)
    ]
    service.client.put("/v1/models/aliases/oldest", json={"model": ids[0]})
    index = service.client.post(INDEX).json()
    assert [item["name"] for item in index] == ["oldest", ids[2], ids[1]]
    assert {(item["version"], item["state"]) for item in index} == {("1", "UNAVAILABLE")}


def test_an_owners_models_are_theirs(
    embedded_column: Column, tmp_path_factory: pytest.TempPathFactory, made: ModelFiles
) -> None:
    settings = embedded_column.settings(port=0, keys="required", lease_seconds=600.0)
    with (
        serve(settings, tmp_path_factory.mktemp("keys")) as service,
        caller(service, "ada") as ada,
        caller(service, "bob") as bob,
    ):
        service.client.headers["Authorization"] = ada.headers["Authorization"]
        job_id = service.run_to_success(files=made.files, model=True)
        (model_id,) = service.get(f"/v1/jobs/{job_id}")["models"]
        for client, known in ((ada, True), (bob, False)):
            index = client.post(INDEX).json()
            assert [item["name"] for item in index] == ([model_id] if known else [])
            for path in (f"/v2/models/{model_id}/config", f"/v2/models/{model_id}/stats"):
                assert client.get(path).status_code == (200 if known else 404)
            told = client.get("/v2/models/stats").json()["model_stats"]
            assert [one["name"] for one in told] == ([model_id] if known else [])
        unload = f"/v2/repository/models/{model_id}/unload"
        assert (bob.post(unload).status_code, ada.post(unload).status_code) == (404, 200)
