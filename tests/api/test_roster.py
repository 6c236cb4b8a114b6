"""Models in memory: how often the record is asked for them, and that deleted ones go."""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from http_service import Service, problem, wait_until
from model_files import ModelFiles
from sqlalchemy import Connection, event

from api.predict import roster as module
from fmx_store import aliases, jobs
from fmx_store.tables import Model
from fmx_store.viewers import EVERYONE, Record


@contextmanager
def counted_reads(service: Service) -> Generator[list[str]]:
    """The statements that the server's database has run."""
    statements: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = service.app.state.services._db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def make_model(service: Service, made: ModelFiles) -> tuple[str, str]:
    """A job and where its model predicts."""
    job_id = service.run_to_success(files=made.files, model=True)
    return job_id, f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}/predict"


def test_the_record_is_asked_once_a_second(service: Service, made: ModelFiles) -> None:
    _, path = make_model(service, made)
    body = {"images": made.test.images_NHW[:1].tolist()}
    assert service.client.post(path, json=body).is_success
    with counted_reads(service) as statements:
        began = time.monotonic()
        for _ in range(50):
            assert service.client.post(path, json=body).is_success
        lookups = sum(" model" in statement for statement in statements)
        assert lookups <= 1 + (time.monotonic() - began) / module.BELIEVED_SECONDS


def test_those_who_ask_together_share_a_lookup(service: Service, made: ModelFiles) -> None:
    _, path = make_model(service, made)
    model_id = path.split("/")[3]
    services = service.app.state.services
    view = services.view(EVERYONE)

    async def ask() -> None:
        both = await asyncio.gather(*(services.roster.require(view, model_id) for _ in range(8)))
        assert len({id(loaded) for loaded in both}) == 1

    with counted_reads(service) as statements:
        asyncio.run(ask())
    assert sum("FROM model" in statement for statement in statements) == 1


def test_what_another_process_deletes_goes_soon(
    service: Service, made: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BELIEVED_SECONDS", 0.2)
    job_id, path = make_model(service, made)
    assert service.client.post(path, json={"test_rows": [0]}).is_success
    jobs.remove(service.db, job_id)

    def gone() -> bool:
        return service.client.post(path, json={"test_rows": [0]}).status_code == 404

    wait_until(gone, 5)
    problem(service.client.post(path, json={"test_rows": [0]}), 404, "not_found")


def test_a_lookup_that_a_deletion_overtakes_is_not_kept(
    service: Service, made: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, path = make_model(service, made)
    services = service.app.state.services
    load = services.catalogue.load

    def load_and_lose(record: Record, model_id: str) -> object:
        loaded = load(record, model_id)
        jobs.remove(service.db, job_id)
        services.roster.forget_job(job_id)
        return loaded

    monkeypatch.setattr(services.catalogue, "load", load_and_lose)
    service.client.post(path, json={"images": made.test.images_NHW[:1].tolist()})
    monkeypatch.undo()
    problem(service.client.post(path, json={"test_rows": [0]}), 404, "not_found")


def test_a_lookup_that_a_promotion_and_a_deletion_overtake_goes_on(
    service: Service, made: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another server, whose model is gone between two reads: the alias names the next one."""
    job_id, path = make_model(service, made)
    _, other_path = make_model(service, made)
    first, second = (p.split("/")[3] for p in (path, other_path))
    aliases.promote(service.db, "production", first)
    catalogue = service.app.state.services.catalogue
    files, asked = catalogue.files, list[str]()

    def lose(model: Model) -> object:
        asked.append(model.id)
        if model.id == first:
            aliases.promote(service.db, "production", second)
            jobs.remove(service.db, job_id)
        return files(model)

    monkeypatch.setattr(catalogue, "files", lose)
    body = {"images": made.test.images_NHW[:1].tolist()}
    answer = service.client.post("/v1/models/production/predict", json=body)
    assert answer.json()["model"] == second
    assert asked[0] == first
    problem(service.client.post(path, json=body), 404, "not_found")


def test_a_model_by_many_names_is_one(service: Service, made: ModelFiles) -> None:
    """It takes the place of one among those that are kept in memory."""
    _, path = make_model(service, made)
    model_id = path.split("/")[3]
    body = {"images": made.test.images_NHW[:1].tolist()}
    for number in range(30):
        aliases.promote(service.db, f"name-{number}", model_id)
        assert service.client.post(f"/v1/models/name-{number}/predict", json=body).is_success
    roster = service.app.state.services.roster
    assert roster.loaded_ids() == {model_id}
    assert len(roster._entries) == 30
