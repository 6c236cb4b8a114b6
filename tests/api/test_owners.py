"""Other people's objects: to whoever is not their owner they are as if they were not there."""

import itertools
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from http_service import Service, problem, serve
from key_kit import ROUTES, Route, caller
from model_files import ModelFiles
from services import Column

from fmx_store import jobs
from fmx_store.keys import Scope
from fmx_store.states import State

NO_ID = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
IMAGE = [[0] * 28] * 28
BODIES = {
    "predict": {"images": [IMAGE]},
    "make_feature_maps": {"images": [IMAGE]},
    "infer": {
        "inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}]
    },
}
ON_ONE = [
    route for route in ROUTES if "_id}" in route.path and route.name != "refuse_extension"
]  # extensions of /v2 that are not served: not found, whoever asks


@dataclass(frozen=True)
class House:
    """A server with a finished job of Ada's; Bob and an admin have keys too."""

    service: Service
    ada: httpx.Client
    bob: httpx.Client
    admin: httpx.Client
    ids: dict[str, str]


@pytest.fixture(scope="module")
def house(
    sqlite_template: Path, made: ModelFiles, tmp_path_factory: pytest.TempPathFactory
) -> Generator[House]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "fmx.sqlite3").write_bytes(sqlite_template.read_bytes())
    column = Column("embedded", {"FMX_DATA_DIR": str(folder)})
    settings = column.settings(port=0, keys="required", lease_seconds=600.0)
    with ExitStack() as stack:
        service = stack.enter_context(serve(settings, folder))
        house = move_in(stack, service, made)
        yield house


@pytest.fixture
def own_house(column: Column, tmp_path: Path, made: ModelFiles) -> Generator[House]:
    """One of this test's own, on each column."""
    settings = column.settings(port=0, keys="required", lease_seconds=600.0)
    with ExitStack() as stack:
        service = stack.enter_context(serve(settings, tmp_path))
        yield move_in(stack, service, made)


def move_in(stack: ExitStack, service: Service, made: ModelFiles) -> House:
    ada = stack.enter_context(caller(service, "ada"))
    bob = stack.enter_context(caller(service, "bob"))
    admin = stack.enter_context(caller(service, "root", Scope.ADMIN))
    service.client.headers["Authorization"] = ada.headers["Authorization"]
    job_files = {"figure-1.png": b"a picture"}
    job_id = service.run_to_success(files=made.files, model=True, job_files=job_files, tags=["t"])
    job = ada.get(f"/v1/jobs/{job_id}").json()
    runs = ada.get(job["links"]["runs"]).json()["items"]
    ids = {"job_id": job_id, "run_id": runs[0]["id"], "model_id": job["models"][0]}
    return House(service, ada, bob, admin, ids)


def ask(client: httpx.Client, route: Route, ids: dict[str, str]) -> httpx.Response:
    path = route.fill(**ids, path="figure-1.png")
    return client.request(route.method, path, json=BODIES.get(route.name))


def said(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str, list[str]]:
    """An answer without the ids that it was asked for, and without its own."""
    text = answer.text.replace(answer.headers["x-request-id"], "")
    for identity in ids.values():
        assert identity not in text or identity in str(answer.url)
        text = text.replace(identity, "")
    return answer.status_code, text, sorted(answer.headers)


@pytest.mark.parametrize("route", ON_ONE, ids=lambda route: f"{route.method} {route.path}")
def test_another_owners_things_are_as_things_that_are_not_there(house: House, route: Route) -> None:
    nothing = dict.fromkeys(house.ids, NO_ID)
    theirs, unknown = (ask(house.bob, route, ids) for ids in (house.ids, nothing))
    assert said(theirs, house.ids) == said(unknown, nothing)
    assert theirs.status_code == 404, theirs.text
    if route.method == "GET":
        assert ask(house.ada, route, house.ids).is_success
        assert ask(house.admin, route, house.ids).is_success


def test_what_bob_tried_has_changed_nothing(house: House) -> None:
    for order in ("cancel", "retry"):
        problem(house.bob.post(f"/v1/jobs/{house.ids['job_id']}/{order}"), 404, "not_found")
    problem(house.bob.delete(f"/v1/jobs/{house.ids['job_id']}"), 404, "not_found")
    job = house.ada.get(f"/v1/jobs/{house.ids['job_id']}").json()
    assert job["state"] == "succeeded"


def test_conditional_requests_and_parts_tell_nothing(house: House) -> None:
    path = f"/v1/jobs/{house.ids['job_id']}"
    etag = house.ada.get(path).headers["etag"]
    assert house.ada.get(path, headers={"If-None-Match": etag}).status_code == 304
    for headers in ({"If-None-Match": etag}, {"If-None-Match": "*"}, {"Prefer": "wait=5"}):
        problem(house.bob.get(path, headers=headers), 404, "not_found")
        assert house.bob.head(path, headers=headers).status_code == 404
    file = f"{path}/artifacts/figure-1.png"
    tag = house.ada.get(file).headers["etag"]
    for headers in ({"If-None-Match": tag}, {"Range": "bytes=0-1"}):
        problem(house.bob.get(file, headers=headers), 404, "not_found")


def test_a_model_in_memory_is_its_owners_alone(house: House) -> None:
    path = f"/v1/models/{house.ids['model_id']}/predict"
    for _ in range(2):
        assert house.ada.post(path, json=BODIES["predict"]).is_success
        problem(house.bob.post(path, json=BODIES["predict"]), 404, "not_found")
        assert house.admin.post(path, json=BODIES["predict"]).is_success


def test_lists_have_what_their_reader_owns(house: House) -> None:
    for path in ("/v1/jobs", "/v1/models", "/v1/jobs?tag=t", "/v1/jobs?kind=q1&state=succeeded"):
        assert house.bob.get(path).json() == {"items": [], "next_cursor": None}
        assert len(house.ada.get(path).json()["items"]) == 1
        assert len(house.admin.get(path).json()["items"]) == 1
    theirs = house.bob.get("/v1/models", params={"job": house.ids["job_id"]})
    assert theirs.json()["items"] == []


@pytest.mark.parametrize("form", ["html", "md", "pdf"])
def test_a_report_is_of_ones_own_jobs(house: House, form: str) -> None:
    path = f"/v1/reports/report.{form}"
    problem(house.bob.get(path), 404, "nothing_to_report")
    for job_id in (house.ids["job_id"], NO_ID):
        problem(house.bob.get(path, params={"jobs": job_id}), 404, "not_found")
    assert house.ada.get(path, params={"jobs": house.ids["job_id"]}).is_success
    problem(house.bob.get(path, params={"jobs": house.ids["job_id"]}), 404, "not_found")


@pytest.mark.parametrize(
    ("kind", "field", "code"),
    [("q5", "source_run", "unknown_run"), ("q4", "encoder_run", "unknown_run")],
)
def test_a_spec_can_not_name_another_owners_run(
    house: House, kind: str, field: str, code: str
) -> None:
    for path in ("/v1/jobs", "/v1/jobs/validate"):
        told: list[str] = []
        for run_id in (house.ids["run_id"], NO_ID):
            answer = house.bob.post(path, json={"kind": kind, "spec": {field: run_id}})
            body = problem(answer, 422, code)
            assert body["errors"][0]["pointer"] == f"/spec/{field}"
            told.append(body["detail"].replace(run_id, ""))
        assert told[0] == told[1]
        mine = house.ada.post(path, json={"kind": kind, "spec": {field: house.ids["run_id"]}})
        assert mine.json().get("code") != code


def test_estimates_are_made_of_ones_own_trainings(house: House) -> None:
    asked = {"kind": "q1"}
    known = house.ada.post("/v1/jobs/validate", json=asked).json()["estimate"]
    assert known["seconds_at_most"] is not None
    unknown = house.bob.post("/v1/jobs/validate", json=asked).json()["estimate"]
    assert unknown["seconds_at_most"] is None


def test_reuse_takes_over_ones_own_runs_alone(own_house: House) -> None:
    asked = {"kind": "q1", "reuse": True}
    bobs = own_house.bob.post("/v1/jobs", json=asked).json()
    assert bobs["runs"]["succeeded"] == 0
    root = own_house.admin.post("/v1/jobs", json=asked).json()
    assert root["runs"]["succeeded"] == 0
    adas = own_house.ada.post("/v1/jobs", json=asked).json()
    assert adas["runs"]["succeeded"] == 1
    assert adas["models"]
    path = f"/v1/models/{adas['models'][0]}"
    assert own_house.ada.get(path).is_success
    problem(own_house.bob.get(path), 404, "not_found")


def test_equal_idempotency_keys_of_two_owners_are_two(own_house: House) -> None:
    headers = {"Idempotency-Key": "k"}
    house = own_house
    first, second = (
        c.post("/v1/jobs", json={"kind": "q1"}, headers=headers) for c in callers(house)
    )
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]
    other = {"kind": "q1", "name": "other"}
    for client, job in zip(callers(house), (first, second), strict=True):
        again = client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json()["id"] == job.json()["id"]
        problem(client.post("/v1/jobs", json=other, headers=headers), 422, "idempotency_mismatch")


def callers(house: House) -> tuple[httpx.Client, httpx.Client]:
    return house.ada, house.bob


def test_owners_see_their_own_of_many(own_house: House) -> None:
    """Page by page, with every filter, after both have submitted in turn."""
    house = own_house
    before = {job["id"] for job in house.ada.get("/v1/jobs").json()["items"]}
    mine: dict[str, set[str]] = {"ada": before, "bob": set()}
    for number, (name, client) in itertools.product(
        range(4), (("ada", house.ada), ("bob", house.bob))
    ):
        tags = ["t"] if number % 2 else []
        job = client.post("/v1/jobs", json={"kind": f"q{1 + number}", "tags": tags}).json()
        mine[name].add(job["id"])
    for name, client in (("ada", house.ada), ("bob", house.bob)):
        assert set(pages(client)) == mine[name]
        for filters in (
            {"kind": "q1"},
            {"state": "queued"},
            {"tag": "t"},
            {"kind": "q2", "tag": "t"},
        ):
            found = pages(client, **filters)
            assert found
            assert set(found) <= mine[name]
            assert sorted(found, reverse=True) == found
    assert set(pages(house.admin)) == mine["ada"] | mine["bob"]


def pages(client: httpx.Client, **filters: str) -> list[str]:
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/jobs", params={"limit": 1, **filters, **cursor}).json()
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_an_owner_may_do_everything_with_their_own(own_house: House) -> None:
    house = own_house
    job = house.bob.post("/v1/jobs", json={"kind": "q1"}).json()
    assert house.bob.post(job["links"]["cancel"]).status_code == 202
    assert house.bob.get(job["links"]["self"]).json()["state"] == "cancelled"
    assert house.bob.post(job["links"]["retry"]).status_code == 202
    assert house.bob.delete(job["links"]["self"]).status_code == 204
    problem(house.bob.get(job["links"]["self"]), 404, "not_found")
    assert house.admin.delete(f"/v1/jobs/{house.ids['job_id']}").status_code == 204


def test_where_keys_are_off_everyone_sees_everything(
    embedded_column: Column, tmp_path: Path
) -> None:
    """And what was submitted then has no owner, so that with keys on an admin alone sees it."""
    with serve(embedded_column.settings(port=0), tmp_path) as service:
        ownerless = service.submit()["id"]
    with (
        serve(embedded_column.settings(port=0, keys="required"), tmp_path) as service,
        caller(service, "ada") as ada,
        caller(service, "root", Scope.ADMIN) as root,
    ):
        owned = ada.post("/v1/jobs", json={"kind": "q1"}).json()["id"]
        assert pages(ada) == [owned]
        problem(ada.get(f"/v1/jobs/{ownerless}"), 404, "not_found")
        assert pages(root) == [owned, ownerless]
    with serve(embedded_column.settings(port=0), tmp_path) as service:
        assert pages(service.client) == [owned, ownerless]
        assert jobs.require_job(service.db, owned).owner == "ada"
        assert jobs.require_job(service.db, ownerless).state is State.QUEUED
