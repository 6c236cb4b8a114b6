"""What the convolutions of a model make of pictures, over HTTP: numbers, drawings, sheets."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import torch
from http_service import Service, pointers, problem
from model_files import ModelFiles, make_model_files, png
from numpy.typing import NDArray
from PIL import Image

from api.predict import feature_maps
from api.predict.schemas import FeatureMapsBody
from fmx_ml.data.sources import Pictures
from fmx_ml.engine.evaluate import to_device
from fmx_ml.export import rebuild
from fmx_ml.files import CARD_FILE, ONNX_FILE, WEIGHTS_FILE
from fmx_ml.models.cnn import Cnn
from fmx_ml.specs import CnnSpec, MlpSpec

LAYERS = ["conv1", "conv2", "conv3"]
SHAPES = [(4, 28, 28), (6, 28, 28), (5, 14, 14)]
ROWS = [0, 199, 7]
AS_PNG = {"Accept": "image/png"}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """A model of three convolutions."""
    spec = CnnSpec(conv_layers=3, channels=(4, 6, 5))
    return make_model_files(tmp_path_factory.mktemp("deep"), "fm1", seed=3, spec=spec)


@pytest.fixture(scope="module")
def here(shared: Service, deep: ModelFiles) -> str:
    """That model's path on the module's server."""
    return publish(shared, deep)


@pytest.fixture(scope="module")
def maps_path(here: str) -> str:
    """Where it shows its feature maps."""
    return f"{here}/feature-maps"


def publish(service: Service, files: ModelFiles) -> str:
    job_id = service.run_to_success(files=files.files, model=True)
    return f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}"


def ask(service: Service, path: str, body: Any, **options: Any) -> list[dict[str, Any]]:
    """The feature maps of each picture."""
    answer = service.client.post(path, json=body, **options)
    assert answer.status_code == 200, answer.text
    FeatureMapsBody.model_validate(answer.json())
    assert answer.headers["vary"] == "Accept"
    return answer.json()["feature_maps"]


def decode(picture: str) -> NDArray[np.uint8]:
    """The pixels in a data: URI."""
    assert picture.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))


def run_export(made: ModelFiles, rows: list[int]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(made.files[ONNX_FILE])
    feed = {"images": made.test.images_NHW[rows, None].astype(np.float32)}
    found: Any = session.run(LAYERS, feed)
    return found


def run_network(made: ModelFiles, rows: list[int], folder: Path) -> list[NDArray[np.float32]]:
    for name in (CARD_FILE, WEIGHTS_FILE):
        (folder / name).write_bytes(made.files[name])
    network = rebuild(folder / CARD_FILE, folder / WEIGHTS_FILE)
    assert isinstance(network, Cnn)
    chosen = Pictures(made.test.images_NHW[rows], made.test.labels_N[rows])
    with torch.inference_mode():
        examples = to_device(chosen, torch.device("cpu"))
        return [maps.numpy() for maps in network.feature_maps(examples.images_NCHW)]


def test_values_are_those_of_the_export_and_of_the_network(
    shared: Service, maps_path: str, deep: ModelFiles, tmp_path: Path
) -> None:
    exported, computed = run_export(deep, ROWS), run_network(deep, ROWS, tmp_path)
    outputs = {out["name"]: out for out in json.loads(deep.files[CARD_FILE])["outputs"]}
    for number, picture in enumerate(ask(shared, maps_path, {"test_rows": ROWS})):
        assert picture["input"]["shape"] == [28, 28]
        assert picture["input"]["values"] == deep.test.images_NHW[ROWS[number]].tolist()
        assert [layer["name"] for layer in picture["layers"]] == LAYERS
        assert [tuple(layer["shape"]) for layer in picture["layers"]] == SHAPES
        for place, layer in enumerate(picture["layers"]):
            values = np.array(layer["values"])
            assert values.shape == SHAPES[place]
            assert np.abs(values - exported[place][number]).max() < 1e-5
            assert np.abs(values - computed[place][number]).max() < 1e-5
            assert (layer["minimum"], layer["maximum"]) == (values.min(), values.max())
            assert layer["minimum"] == 0 < layer["maximum"]
            assert layer["meaning"] == outputs[layer["name"]]["meaning"]


def test_numbers_have_the_digits_that_float32_has(shared: Service, maps_path: str) -> None:
    (picture,) = ask(shared, maps_path, {"test_rows": [0]})
    for layer in picture["layers"]:
        for value in np.ravel(layer["values"]).tolist():
            assert value == float(str(np.float32(value)))


def test_each_picture_has_its_prediction(shared: Service, here: str, deep: ModelFiles) -> None:
    """The same members with the same numbers, whichever way the pictures come."""
    pictures = deep.test.images_NHW[ROWS]
    large = np.asarray(Image.fromarray(255 - pictures[2]).resize((280, 140)))
    files = [("files", (f"{i}.png", png(p))) for i, p in enumerate([*pictures, large])]
    for sent in ({"json": {"test_rows": ROWS}}, {"json": {"images": pictures.tolist()}}):
        assert_alike(shared.client, here, sent)
    mapped = assert_alike(shared.client, here, {"files": files})
    assert [p["inverted"] for p in mapped] == [False, False, False, True]
    assert [(p["width"], p["height"]) for p in mapped[2:]] == [(28, 28), (280, 140)]


def assert_alike(client: httpx.Client, here: str, sent: Any) -> list[dict[str, Any]]:
    mapped = client.post(f"{here}/feature-maps", **sent).json()["feature_maps"]
    predicted = client.post(f"{here}/predict", **sent).json()["predictions"]
    assert len(mapped) == len(predicted) > 0
    for picture, prediction in zip(mapped, predicted, strict=True):
        assert list(picture) == [*prediction, "input", "layers"]
        ours, theirs = picture["probabilities"], prediction.pop("probabilities")
        assert ours == pytest.approx(theirs, abs=1e-6)
        assert {name: picture[name] for name in prediction} == prediction
    return mapped


def test_an_uploaded_picture_is_shown_as_the_model_took_it(
    shared: Service, maps_path: str, deep: ModelFiles
) -> None:
    dark = deep.test.images_NHW[7]
    files = [("files", ("light.png", png(255 - dark)))]
    (picture,) = shared.client.post(maps_path, files=files).json()["feature_maps"]
    assert picture["input"]["values"] == dark.tolist()
    (same,) = ask(shared, maps_path, {"test_rows": [7]})
    assert picture["layers"] == same["layers"]


def test_drawings_show_the_values_on_one_scale_a_layer(shared: Service, maps_path: str) -> None:
    (picture,) = ask(shared, maps_path, {"test_rows": [7]})
    drawn = decode(picture["input"]["picture"])
    assert drawn.shape == (56, 56)
    assert np.array_equal(drawn[::2, ::2], picture["input"]["values"])
    for layer, columns, scale in zip(picture["layers"], (2, 3, 3), (2, 2, 4), strict=True):
        drawn = decode(layer["picture"])
        assert drawn.shape == (2 * 60 + 4, columns * 60 + 4)
        assert drawn.max() == 255
        grey = np.rint(np.array(layer["values"]) / layer["maximum"] * 255)
        for channel, map_HW in enumerate(grey):
            top, left = 4 + channel // columns * 60, 4 + channel % columns * 60
            tile = drawn[top : top + 56, left : left + 56]
            for corner in (tile[::scale, ::scale], tile[scale - 1 :: scale, scale - 1 :: scale]):
                assert np.abs(corner - map_HW).max() <= 1  # of 255, where rounding ties


def test_the_numbers_can_be_left_out(shared: Service, maps_path: str) -> None:
    body = {"test_rows": [1, 2]}
    full = ask(shared, maps_path, body)
    for picture in full:
        for part in (picture["input"], *picture["layers"]):
            del part["values"]
    assert ask(shared, maps_path, body, params={"values": "false"}) == full


@pytest.mark.parametrize("asked", ["conv2", "conv1,conv3", "conv3,conv1"])
def test_layers_can_be_chosen(shared: Service, maps_path: str, asked: str) -> None:
    body = {"test_rows": [3]}
    (full,), (chosen,) = (
        ask(shared, maps_path, body),
        ask(shared, f"{maps_path}?layers={asked}", body),
    )
    names = asked.split(",")
    assert chosen["layers"] == [layer for layer in full["layers"] if layer["name"] in names]
    assert chosen["input"] == full["input"]


@pytest.mark.parametrize(
    ("query", "place", "code"),
    [
        ("layers=", "?layers", "unknown_layer"),
        ("layers=conv4", "?layers", "unknown_layer"),
        ("layers=conv1,logits", "?layers", "unknown_layer"),
        ("layers=conv1, conv2", "?layers", "unknown_layer"),
        ("layers=conv1,conv1", "?layers", "repeated"),
        ("layers=conv1&layers=conv2", "?layers", "repeated"),
        (f"layers={'conv1,' * 60}", "?layers", "string_too_long"),
        ("values=perhaps", "?values", "bool_parsing"),
        ("layer=conv1", "?layer", "extra_forbidden"),
    ],
)
@pytest.mark.parametrize("headers", [{}, AS_PNG], ids=["json", "png"])
def test_a_bad_query_is_pointed_to(
    shared: Service, maps_path: str, query: str, place: str, code: str, headers: dict[str, str]
) -> None:
    answer = shared.client.post(f"{maps_path}?{query}", json={"test_rows": [0]}, headers=headers)
    (item,) = problem(answer, 422, "invalid")["errors"]
    assert (item["pointer"], item["code"]) == (place, code)


def ask_sheet(service: Service, path: str, **sent: Any) -> NDArray[np.uint8]:
    answer = service.client.post(path, headers=AS_PNG, **sent)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["content-type"], answer.headers["vary"]) == ("image/png", "Accept")
    image = Image.open(io.BytesIO(answer.content))
    image.load()
    assert (image.format, image.mode) == ("PNG", "L")
    return np.asarray(image)


def holds(sheet: NDArray[np.uint8], part: NDArray[np.uint8]) -> bool:
    """Whether a part of the sheet is that picture, pixel for pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet, part.shape)
    rows, columns = np.nonzero((windows[..., 0, :8] == part[0, :8]).all(-1))
    return any(np.array_equal(windows[y, x], part) for y, x in zip(rows, columns, strict=True))


def test_a_sheet_shows_the_input_and_a_row_of_tiles_a_layer(
    shared: Service, maps_path: str, deep: ModelFiles
) -> None:
    """Every tile of the JSON's drawings stands on it."""
    sheet = ask_sheet(shared, maps_path, json={"test_rows": [7]})
    (picture,) = ask(shared, maps_path, {"test_rows": [7]})
    assert holds(sheet, deep.test.images_NHW[7].repeat(4, 0).repeat(4, 1))
    for layer, columns in zip(picture["layers"], (2, 3, 3), strict=True):
        drawn = decode(layer["picture"])
        for channel in range(layer["shape"][0]):
            top, left = 4 + channel // columns * 60, 4 + channel % columns * 60
            assert holds(sheet, drawn[top : top + 56, left : left + 56])
    content = png(deep.test.images_NHW[7])
    uploaded = ask_sheet(shared, maps_path, files=[("files", ("a.png", content))])
    assert np.array_equal(sheet, uploaded)


def test_a_sheet_has_the_layers_that_were_asked_for(shared: Service, maps_path: str) -> None:
    body = {"test_rows": [7]}
    whole = ask_sheet(shared, maps_path, json=body)
    part = ask_sheet(shared, f"{maps_path}?layers=conv2,conv3", json=body)
    assert part.shape[0] < whole.shape[0]
    assert np.array_equal(
        ask_sheet(shared, f"{maps_path}?layers=conv1,conv2,conv3", json=body), whole
    )


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "image/*;q=0.5, */*"])
def test_json_is_the_answer_where_png_is_not_liked_better(
    shared: Service, maps_path: str, accept: str | None
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    ask(shared, maps_path, {"test_rows": [0]}, headers=headers)


def test_a_sheet_is_of_one_picture(shared: Service, maps_path: str) -> None:
    body = {"test_rows": [0, 1]}
    answer = shared.client.post(maps_path, json=body, headers=AS_PNG)
    assert "one picture" in problem(answer, 406, "one_picture")["detail"]
    either = {"Accept": "image/png, application/json;q=0.1"}
    assert len(ask(shared, maps_path, body, headers=either)) == 2


def check_limit(service: Service, path: str, made: ModelFiles, most: int) -> None:
    """So many pictures are taken, one more is not."""
    picture = made.test.images_NHW[0]
    file = ("files", ("x.png", png(picture)))
    ways: dict[str, Any] = {
        "test_rows": lambda n: {"json": {"test_rows": [0] * n}},
        "images": lambda n: {"json": {"images": [picture.tolist()] * n}},
        "files": lambda n: {"files": [file] * n},
    }
    for name, sent in ways.items():
        answer = service.client.post(path, **sent(most))
        assert len(answer.json()["feature_maps"]) == most
        answer = service.client.post(path, **sent(most + 1))
        (item,) = problem(answer, 422, "invalid")["errors"]
        assert (item["pointer"], item["code"]) == (f"/{name}", "too_long")


def test_eight_pictures_are_the_most(shared: Service, maps_path: str, deep: ModelFiles) -> None:
    check_limit(shared, maps_path, deep, 8)


class TestFewerPictures:
    """A server with a limit of its own."""

    @pytest.fixture
    def settings_values(self) -> dict[str, Any]:
        return {"max_feature_map_pictures": 2}

    def test_the_limit_is_a_setting(self, service: Service, deep: ModelFiles) -> None:
        here = publish(service, deep)
        check_limit(service, f"{here}/feature-maps", deep, 2)
        assert service.client.post(f"{here}/predict", json={"test_rows": [0] * 3}).is_success


def test_more_numbers_than_fit_an_answer_are_refused(
    shared: Service, maps_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_values = 2 * (10 * 28 * 28 + 5 * 14 * 14)
    body = {"test_rows": [0, 1]}
    monkeypatch.setattr(feature_maps, "MAX_NUMBERS", num_values)
    assert len(ask(shared, maps_path, body)) == 2
    monkeypatch.setattr(feature_maps, "MAX_NUMBERS", num_values - 1)
    answer = shared.client.post(maps_path, json=body)
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?values"]
    assert len(ask(shared, f"{maps_path}?values=false", body)) == 2
    assert len(ask(shared, f"{maps_path}?layers=conv1,conv2", body)) == 2
    monkeypatch.setattr(feature_maps, "MAX_NUMBERS", 0)
    ask_sheet(shared, maps_path, json={"test_rows": [0]})


def test_a_model_without_convolutions_has_no_feature_maps(shared: Service, tmp_path: Path) -> None:
    here = publish(shared, make_model_files(tmp_path, "fm1", 4, MlpSpec()))
    body = {"test_rows": [0]}
    assert shared.client.post(f"{here}/predict", json=body).is_success
    for headers in ({}, AS_PNG):
        for query in ("", "?layers=conv1"):
            answer = shared.client.post(f"{here}/feature-maps{query}", json=body, headers=headers)
            assert "no convolutions" in problem(answer, 409, "no_feature_maps")["detail"]


def test_a_damaged_export_shows_nothing(service: Service, deep: ModelFiles) -> None:
    files = {**deep.files, ONNX_FILE: deep.files[ONNX_FILE]}
    job_id = service.run_to_success(files=files, model=True)
    path = f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}/feature-maps"
    artifacts = service.get(f"/v1/jobs/{job_id}/artifacts")["items"]
    digest = next(a["sha256"] for a in artifacts if a["path"].endswith(".onnx"))
    blob = service.blobs.fetch(digest, service.folder / "copy")
    blob.write_bytes(blob.read_bytes()[:-1])
    problem(service.client.post(path, json={"test_rows": [0]}), 500, "blob_damaged")
