"""Models by their aliases: the calls of both clients, and the commands."""

import asyncio
from pathlib import Path

import pytest
from http_service import Service
from model_files import ModelFiles, make_model_files
from test_cli import Fmx

from fmx_client import AsyncClient, Client, errors


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return make_model_files(tmp_path_factory.mktemp("model"), "fm1", seed=5)


def leave_model(service: Service, made: ModelFiles) -> str:
    job_id = service.run_to_success(files=made.files, model=True)
    return service.get(f"/v1/jobs/{job_id}")["models"][0]


def test_a_client_names_models(service: Service, made: ModelFiles) -> None:
    first, second = leave_model(service, made), leave_model(service, made)
    with Client(service.server.url) as client:
        assert list(client.aliases()) == []
        assert client.promote("production", first).model == first
        moved = client.promote("production", second)
        assert client.alias("production") == moved
        assert [alias.name for alias in client.aliases()] == ["production"]
        assert client.model("production").id == second
        assert client.predict("production", test_rows=[0]).model == second
        with pytest.raises(errors.InvalidRequestError, match="model"):
            client.promote("production", "7" * 26)
        with pytest.raises(errors.ConflictError, match="'production'"):
            client.delete(client.model(second).job)
        client.delete_alias("production")
        with pytest.raises(errors.NotFoundError):
            client.alias("production")
        client.delete(client.model(second).job)


def test_the_client_for_asyncio_does_the_same(service: Service, made: ModelFiles) -> None:
    model_id = leave_model(service, made)

    async def name_it() -> list[str]:
        async with AsyncClient(service.server.url) as client:
            await client.promote("best", model_id)
            assert (await client.predict("best", test_rows=[1])).model == model_id
            names = [alias.name async for alias in client.aliases()]
            await client.delete_alias("best")
            return names

    assert asyncio.run(name_it()) == ["best"]


def test_the_commands_name_models(service: Service, made: ModelFiles, tmp_path: Path) -> None:
    fmx = Fmx(service.server.url)
    first, second = leave_model(service, made), leave_model(service, made)
    assert fmx("models", "aliases").out == "no aliases\n"
    assert fmx("models", "promote", "production", "last").out == f"production {second}\n"
    said = fmx("models", "promote", "production", first, "--json").value
    assert (said["name"], said["model"]) == ("production", first)
    (listed,) = fmx("models", "aliases", "--json").value["items"]
    assert listed == said
    assert first in fmx("models", "aliases").out
    predicted = fmx("predict", "--test-row=0", "--model=production", "--json").value
    assert predicted["model"] == first
    sheet = tmp_path / "maps.png"
    drawn = fmx("feature-maps", "production", "--test-row=0", f"--out={sheet}")
    assert (drawn.status, sheet.exists()) == (0, True)
    wrong = fmx("models", "promote", "last", first)
    assert (wrong.status, "looks like no id" in wrong.err) == (2, True)
    assert fmx("models", "unname", "production").out == "production deleted\n"
    assert fmx("models", "unname", "production").status == 1
    assert len(fmx("models", "--limit=1", "--json").value["items"]) == 1
