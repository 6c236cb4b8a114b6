"""The short way to predictions: what takes it, and that it answers as the long way does."""

import asyncio
from typing import Any

import httpx
import pytest
from http_service import Service, problem
from model_files import ModelFiles
from starlette.types import Receive, Scope, Send

from api.permissions import ANYONE, GRANT
from api.shortcut import Shortcut


async def by_the_long_way(service: Service, path: str, body: Any) -> httpx.Response:
    """The answer of the framework's own route."""
    framework = super(type(service.app), service.app).__call__

    async def let_in(scope: Scope, receive: Receive, send: Send) -> None:
        await framework({**scope, GRANT: ANYONE}, receive, send)

    transport = httpx.ASGITransport(app=let_in)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path, json=body)


@pytest.mark.parametrize("body", [{"test_rows": [0, 3]}, {"test_rows": [9999]}, {"rows": []}, 5])
def test_both_ways_agree(shared: Service, predict_path: str, body: Any) -> None:
    short = shared.client.post(predict_path, json=body)
    long = asyncio.run(by_the_long_way(shared, predict_path, body))
    assert short.status_code == long.status_code
    unlike = {"date", "x-request-id"}
    assert {k: v for k, v in short.headers.items() if k not in unlike} == {
        k: v for k, v in long.headers.items() if k not in unlike
    }
    assert {**short.json(), "request_id": ""} == {**long.json(), "request_id": ""}


def test_predictions_need_no_route(
    shared: Service, predict_path: str, made: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they have really taken it."""
    body = {"images": made.test.images_NHW[:1].tolist()}
    monkeypatch.setattr(shared.app.router, "routes", [])
    assert shared.client.post(predict_path, json=body).is_success
    problem(shared.client.get(predict_path), 404, "not_found")
    problem(shared.client.post(f"{predict_path}/more", json=body), 404, "not_found")


def test_its_paths_match_as_the_frameworks_do() -> None:
    taken: list[str] = []

    async def rest(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        taken.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def never(**_: Any) -> Any:
        pytest.fail("this is not its path")

    async def ask() -> None:
        transport = httpx.ASGITransport(app=Shortcut(rest, {"/v1/things/{thing}/ask": never}))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for end in ("//ask", "/a/b/ask", "/a/ask/", "Xa/ask"):
                assert (await client.post(f"/v1/things{end}")).status_code == 204
            assert (await client.get("/v1/things/a/ask")).status_code == 204

    asyncio.run(ask())
    assert len(taken) == 5


def test_what_nobody_planned_for_is_500(
    shared: Service, predict_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("the secret of the house")

    monkeypatch.setattr(shared.app.state.services.roster, "require", fail)
    answer = shared.client.post(predict_path, json={"test_rows": [0]})
    problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
