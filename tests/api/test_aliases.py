"""Aliases over HTTP: seen at once, by every way to a model, and no request lost on the way."""

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from http_service import Service, pointers, problem, serve, wait_until
from key_kit import caller
from model_files import ModelFiles
from services import Column

from api.predict import roster as roster_module
from fmx_store.keys import Scope

PATH = "/v1/models/aliases/production"
TENSOR = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}


def leave_model(service: Service, made: ModelFiles) -> str:
    job_id = service.run_to_success(files=made.files, model=True)
    return service.get(f"/v1/jobs/{job_id}")["models"][0]


def promote(client: httpx.Client, model_id: str, path: str = PATH) -> None:
    answer = client.put(path, json={"model": model_id})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model_id


WAYS: dict[str, Callable[[httpx.Client], httpx.Response]] = {
    "detail": lambda client: client.get("/v1/models/production"),
    "predict": lambda client: client.post(
        "/v1/models/production/predict", json={"images": [[[0] * 28] * 28]}
    ),
    "feature-maps": lambda client: client.post(
        "/v1/models/production/feature-maps", json={"test_rows": [0]}
    ),
    "metadata": lambda client: client.get("/v2/models/production"),
    "ready": lambda client: client.get("/v2/models/production/versions/1/ready"),
    "infer": lambda client: client.post(
        "/v2/models/production/infer", json={"inputs": [TENSOR], "outputs": [{"name": "label"}]}
    ),
}


def model_of(answer: httpx.Response) -> str:
    """The id in an answer, whichever way it came."""
    assert answer.is_success, answer.text
    body = answer.json()
    return next(body[name] for name in ("model", "model_name", "id", "name") if name in body)


@pytest.mark.parametrize("way", WAYS)
def test_a_promotion_is_seen_at_once(
    shared: Service, made: ModelFiles, other: ModelFiles, way: str
) -> None:
    models = [leave_model(shared, files) for files in (made, other)]
    for model_id in (*models, *models):
        promote(shared.client, model_id)
        assert model_of(WAYS[way](shared.client)) == model_id
    assert shared.client.delete(PATH).status_code == 204
    assert WAYS[way](shared.client).status_code == 404


def test_aliases_are_shown_and_listed(service: Service, made: ModelFiles) -> None:
    assert service.get("/v1/models/aliases") == {"items": [], "next_cursor": None}
    model_id = leave_model(service, made)
    for name in ("b", "a", "c"):
        promote(service.client, model_id, f"/v1/models/aliases/{name}")
    first = service.get("/v1/models/aliases", limit=2)
    assert [item["name"] for item in first["items"]] == ["a", "b"]
    rest = service.get("/v1/models/aliases", cursor=first["next_cursor"])
    assert [item["name"] for item in rest["items"]] == ["c"]
    assert service.get("/v1/models/aliases/c") == rest["items"][0]
    problem(service.client.get("/v1/models/aliases/none"), 404, "not_found")
    problem(service.client.get("/v1/models/aliases?cursor=x"), 422, "invalid")
    service.client.delete("/v1/models/aliases/b")
    assert len(service.get("/v1/models/aliases")["items"]) == 2


def test_a_job_whose_model_has_a_name_is_not_deleted(service: Service, made: ModelFiles) -> None:
    model_id = leave_model(service, made)
    promote(service.client, model_id)
    job = f"/v1/jobs/{service.get(f'/v1/models/{model_id}')['job']}"
    history = service.get(job)
    body = problem(service.client.delete(job), 409, "conflict")
    assert "'production'" in body["detail"]
    assert service.get(job) == history
    service.client.delete(PATH)
    assert service.client.delete(job).status_code == 204


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "/model"),
        ({"model": 7}, "/model"),
        ({"model": None}, "/model"),
        ({"model": "7" * 26}, "/model"),
        ({"model": "no id\0"}, "/model"),
        ({"model": "x" * 65}, "/model"),
        ({"model": "7" * 26, "more": 1}, "/more"),
        ([], ""),
        ("production", ""),
    ],
    ids=repr,
)
def test_what_names_no_model_is_pointed_to(shared: Service, body: object, place: str) -> None:
    answer = shared.client.put(PATH, json=body)
    assert answer.status_code == 422
    assert pointers(answer) == [place]


@pytest.mark.parametrize(
    "name", ["last", "stats", "aliases", "7" * 26, "ä", "a b", "x" * 65, "%00"]
)
def test_what_is_no_alias_is_said(shared: Service, made: ModelFiles, name: str) -> None:
    answer = shared.client.put(
        f"/v1/models/aliases/{name}", json={"model": leave_model(shared, made)}
    )
    problem(answer, 422, "invalid")
    assert [item["code"] for item in answer.json()["errors"]] == ["bad_alias"]
    for path in (f"/v1/models/aliases/{name}", f"/v2/models/{name}/ready"):
        assert shared.client.get(path).status_code == 404


def test_a_body_is_bounded_and_json(shared: Service) -> None:
    problem(shared.client.put(PATH, content=b"{}"), 415, "unsupported_media_type")
    headers = {"Content-Type": "application/json"}
    large = b'{"model": "' + b"x" * 5000 + b'"}'
    problem(shared.client.put(PATH, content=large, headers=headers), 413, "too_large")
    for content in (b"", b"{", b'{"model": "\xff"}', b"[[[[[]]]]]"):
        problem(shared.client.put(PATH, content=content, headers=headers), 400, "bad_json")


@pytest.fixture
def second_server(service: Service, tmp_path: Path) -> Generator[Service]:
    """Another server of the same record."""
    with serve(service.settings, tmp_path) as second:
        yield second


def test_another_server_learns_of_it_within_a_second(
    service: Service, second_server: Service, made: ModelFiles, other: ModelFiles
) -> None:
    models = [leave_model(service, files) for files in (made, other)]
    promote(service.client, models[0])
    assert model_of(WAYS["predict"](second_server.client)) == models[0]
    promote(service.client, models[1])
    promoted_at = time.monotonic()
    wait_until(lambda: model_of(WAYS["predict"](second_server.client)) == models[1], 10)
    late = time.monotonic() - promoted_at
    assert late < roster_module.BELIEVED_SECONDS + 2, "a slow machine's two seconds at most"


def test_no_request_is_lost_while_models_change_places(
    service: Service, second_server: Service, made: ModelFiles, other: ModelFiles
) -> None:
    """Clients of two servers ask without a pause; each model's job is deleted when it is out."""
    first, second = leave_model(service, made), leave_model(service, other)
    promote(service.client, first)
    stop = threading.Event()
    seen: set[str] = set()

    def ask(url: str) -> int:
        asked = 0
        with httpx.Client(base_url=url, timeout=30) as client:
            while not stop.is_set():
                for way in ("predict", "infer"):
                    seen.add(model_of(WAYS[way](client)))
                    asked += 1
        return asked

    with ThreadPoolExecutor(6) as pool:
        urls = [service.server.url] * 3 + [second_server.server.url] * 3
        tasks = [pool.submit(ask, url) for url in urls]
        try:
            swap(service.client, first, second)
            third = leave_model(service, made)
            replace(service.client, second, third)
            time.sleep(0.3)
            swap(service.client, third, leave_model(service, other))
        finally:
            stop.set()
        assert all(task.result() > 10 for task in tasks)
    assert {first, second, third} <= seen


def swap(client: httpx.Client, first: str, second: str) -> None:
    """Back and forth; in the end the second model has the name, and the first is deleted."""
    for _ in range(10):
        for model_id in (first, second):
            promote(client, model_id)
            assert model_of(WAYS["predict"](client)) == model_id
    replace(client, first, second)


def replace(client: httpx.Client, old: str, new: str) -> None:
    job = client.get(f"/v1/models/{old}").json()["job"]
    promote(client, new)
    assert client.delete(f"/v1/jobs/{job}").status_code == 204


def test_an_alias_is_its_owners_alone(
    embedded_column: Column, tmp_path: Path, made: ModelFiles
) -> None:
    settings = embedded_column.settings(port=0, keys="required", lease_seconds=600.0)
    with (
        serve(settings, tmp_path) as service,
        caller(service, "ada") as ada,
        caller(service, "bob") as bob,
        caller(service, "eve", Scope.READ, Scope.PREDICT) as eve,
    ):
        service.client.headers["Authorization"] = ada.headers["Authorization"]
        model_id = leave_model(service, made)
        unknown = bob.put(PATH, json={"model": "7" * 26}).json()["errors"][0]["code"]
        answer = bob.put(PATH, json={"model": model_id})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, unknown)
        promote(ada, model_id)
        assert model_of(WAYS["predict"](ada)) == model_id
        for way in WAYS.values():
            assert way(bob).status_code == 404
        problem(bob.get(PATH), 404, "not_found")
        problem(bob.delete(PATH), 404, "not_found")
        assert bob.get("/v1/models/aliases").json()["items"] == []
        problem(eve.put(PATH, json={"model": model_id}), 403, "missing_scope")
        problem(eve.delete(PATH), 403, "missing_scope")
        assert ada.get(PATH).json()["model"] == model_id
