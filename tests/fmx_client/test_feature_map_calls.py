"""Feature maps through the client: what is sent, what comes back, sheets as files."""

import asyncio
import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from http_service import Service
from model_files import ModelFiles, make_model_files, png
from PIL import Image
from stand_in import URL, StandIn, problem

from fmx_client import AsyncClient, Client, errors

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return make_model_files(tmp_path_factory.mktemp("model"), "fm1", seed=5)


@pytest.fixture
def model_id(service: Service, made: ModelFiles) -> str:
    job_id = service.run_to_success(files=made.files, model=True)
    return service.get(f"/v1/jobs/{job_id}")["models"][0]


def _answer(request: httpx.Request) -> httpx.Response:
    picture = f"data:image/png;base64,{b64encode(PNG).decode()}"
    layer: dict[str, Any] = {
        "name": "conv1",
        "meaning": "maps",
        "shape": [1, 1, 1],
        "minimum": 0.0,
        "maximum": 0.5,
        "picture": picture,
    }
    pictures = [
        {
            "label": "Bag",
            "class": 8,
            "probabilities": {"Bag": 0.9},
            "row": row,
            "input": {"shape": [28, 28], "picture": picture},
            "layers": [layer],
        }
        for row in json.loads(request.content)["test_rows"]
    ]
    return httpx.Response(200, json={"model": "m", "feature_maps": pictures})


def test_many_pictures_go_eight_at_a_time_and_come_back_in_order() -> None:
    server = StandIn([_answer])
    with Client(URL, transport=server.transport) as client:
        answer = client.feature_maps("m", test_rows=range(20), layers=("conv1",), values=False)
    assert [len(json.loads(request.content)["test_rows"]) for request in server.requests] == [
        8,
        8,
        4,
    ]
    assert {r.url.raw_path for r in server.requests} == {
        b"/v1/models/m/feature-maps?layers=conv1&values=false"
    }
    assert [picture.row for picture in answer.feature_maps] == list(range(20))
    first = answer.feature_maps[0]
    assert (first.probability, first.layers[0].maximum, first.layers[0].values) == (0.9, 0.5, None)
    assert first.layers[0].png == first.input.png == PNG


def test_nothing_is_added_that_was_not_asked_for() -> None:
    server = StandIn([_answer])
    with Client(URL, transport=server.transport) as client:
        client.feature_maps("m", test_rows=[0])
    assert server.requests[0].url.raw_path == b"/v1/models/m/feature-maps"


def test_a_sheet_is_asked_for_as_png() -> None:
    server = StandIn([httpx.Response(200, content=PNG, headers={"Content-Type": "image/png"})])
    with Client(URL, transport=server.transport) as client:
        assert client.feature_map_sheet("m", test_row=0, layers=["conv1", "conv2"]) == PNG
        image = np.zeros((28, 28), np.uint8)
        assert client.feature_map_sheet("m", image=image) == PNG
    of_row, of_pixels = server.requests
    assert of_row.headers["accept"] == of_pixels.headers["accept"] == "image/png"
    assert of_row.url.params["layers"] == "conv1,conv2"
    assert json.loads(of_row.content) == {"test_rows": [0]}
    assert json.loads(of_pixels.content) == {"images": [image.tolist()]}


def test_what_is_no_sheet_is_said() -> None:
    server = StandIn([httpx.Response(200, json={"model": "m", "feature_maps": []})])
    with (
        Client(URL, transport=server.transport) as client,
        pytest.raises(errors.UnexpectedAnswerError, match="no PNG"),
    ):
        client.feature_map_sheet("m", test_row=0)


@pytest.mark.parametrize("given", [{}, {"file": ("a.png", b"x"), "test_row": 0}])
def test_a_sheet_wants_one_of_the_three(given: dict[str, Any]) -> None:
    with Client(URL) as client, pytest.raises(ValueError, match="one of the three"):
        client.feature_map_sheet("m", **given)


def test_a_model_that_has_none_is_a_conflict() -> None:
    server = StandIn([problem(409, "no_feature_maps", detail="no convolutions")])
    with (
        Client(URL, transport=server.transport) as client,
        pytest.raises(errors.ConflictError, match="no convolutions") as caught,
    ):
        client.feature_maps("m", test_rows=[0])
    assert caught.value.code == "no_feature_maps"
    assert len(server.requests) == 1


def test_a_server_answers_both_clients(
    service: Service, model_id: str, made: ModelFiles, tmp_path: Path
) -> None:
    picture = tmp_path / "shoe.png"
    picture.write_bytes(png(made.test.images_NHW[4]))

    async def ask() -> tuple[Any, bytes]:
        async with AsyncClient(service.server.url) as client:
            maps = await client.feature_maps(model_id, files=[picture])
            return maps, await client.feature_map_sheet(model_id, file=picture)

    with Client(service.server.url) as client:
        maps = client.feature_maps(model_id, files=[picture])
        sheet = client.feature_map_sheet(model_id, file=picture)
    assert (maps, sheet) == asyncio.run(ask())
    (found,) = maps.feature_maps
    assert (found.file, found.width) == ("shoe.png", 28)
    assert found.input.values == made.test.images_NHW[4].tolist()
    (layer,) = found.layers
    assert np.array(layer.values).shape == tuple(layer.shape) == (4, 24, 24)
    for drawn in (sheet, layer.png, found.input.png):
        with Image.open(io.BytesIO(drawn)) as image:
            image.load()
            assert image.format == "PNG"
