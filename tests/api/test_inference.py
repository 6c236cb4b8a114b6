"""The Open Inference Protocol, byte by byte."""

import gzip
import json
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from http_service import PROBLEM, Service
from model_files import ModelFiles
from numpy.typing import NDArray

from fmx_ml.data.classes import names_of

LENGTH = "Inference-Header-Content-Length"
SHAPES = ([1, 28, 28], [28, 28], [784])
TYPES: dict[str, Any] = {"FP32": np.float32, "UINT8": np.uint8}


@pytest.fixture(scope="module")
def path(model_id: str) -> str:
    """The model's own path."""
    return f"/v2/models/{model_id}"


def binary(
    pixels: NDArray[Any],
    *,
    said: Any = None,
    shape: list[int] | None = None,
    datatype: str = "UINT8",
    **members: Any,
) -> tuple[bytes, dict[str, str]]:
    """A request whose tensor follows its JSON: the body and the headers."""
    size = pixels.nbytes if said is None else said
    tensor = {
        "name": "images",
        "shape": list(pixels.shape) if shape is None else shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [tensor], **members}).encode()
    return head + pixels.tobytes(), {LENGTH: str(len(head))}


def send(
    service: Service, path: str, body: bytes, headers: dict[str, str], **more: str
) -> httpx.Response:
    return service.client.post(f"{path}/infer", content=body, headers={**headers, **more})


def send_json(service: Service, path: str, **tensor: Any) -> httpx.Response:
    given = {"name": "images", "datatype": "UINT8", **tensor}
    return service.client.post(f"{path}/infer", json={"inputs": [given]})


def refused(answer: httpx.Response, status: int, code: str, *places: str) -> None:
    """The answer must be this problem, and have the protocol's own member too."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert answer.headers["content-type"] == PROBLEM
    assert [item["pointer"] for item in body["errors"]] == list(places)
    assert body["error"].startswith(body["detail"])


def split(answer: httpx.Response) -> tuple[dict[str, Any], bytes]:
    """The JSON of an answer, and the bytes that follow it."""
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    return json.loads(answer.content[:length]), answer.content[length:]


def test_the_server_tells_of_itself(shared: Service) -> None:
    assert shared.get("/v2")["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "statistics",
    ]
    assert shared.get("/v2/health/live") == {"live": True}
    assert shared.get("/v2/health/ready") == {"ready": True}


def test_a_server_without_its_record_is_not_ready(service: Service) -> None:
    blobs = service.settings.storage_dir
    blobs.rename(blobs.with_name("elsewhere"))
    blobs.write_text("no folder")
    refused(service.client.get("/v2/health/ready"), 503, "unavailable")
    assert service.client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_model_tells_of_itself(shared: Service, path: str, version: str) -> None:
    model_id = path.rpartition("/")[2]
    assert shared.get(f"{path}{version}/ready") == {"name": model_id, "ready": True}
    told = shared.get(f"{path}{version}")
    assert (told["name"], told["versions"]) == (model_id, ["1"])
    assert told["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
    assert told["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 5]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]


@pytest.mark.parametrize("end", ["", "/ready", "/config", "/stats", "/infer"])
def test_other_models_and_versions_are_404(shared: Service, path: str, end: str) -> None:
    method = "POST" if end == "/infer" else "GET"
    for other in (f"/v2/models/none{end}", f"{path}/versions/2{end}"):
        refused(shared.client.request(method, other), 404, "not_found")


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("is_binary", [True, False])
def test_predictions_are_the_models_own(
    shared: Service,
    path: str,
    made: ModelFiles,
    datatype: str,
    shape: list[int],
    is_binary: bool,
) -> None:
    pixels = made.test.images_NHW[:70].reshape(70, *shape).astype(TYPES[datatype])
    if is_binary:
        answer = send(shared, path, *binary(pixels, datatype=datatype))
    else:
        tensor = {"shape": list(pixels.shape), "datatype": datatype}
        answer = send_json(shared, path, data=pixels.tolist(), **tensor)
        flat = send_json(shared, path, data=pixels.ravel().tolist(), **tensor)
        assert flat.json()["outputs"] == answer.json()["outputs"]
    assert answer.status_code == 200, answer.text
    check(answer.json(), made)


def check(body: dict[str, Any], made: ModelFiles) -> None:
    """The first 70 test pictures' probabilities and labels, as JSON."""
    probabilities, label = body["outputs"]
    assert (probabilities["datatype"], probabilities["shape"]) == ("FP32", [70, 5])
    ours = np.array(probabilities["data"]).reshape(70, 5)
    assert np.abs(ours - made.probabilities_NK[:70]).max() < 1e-5
    assert (label["datatype"], label["shape"]) == ("BYTES", [70])
    names = names_of("fashion-mnist", made.half)
    assert label["data"] == [names[best] for best in ours.argmax(1)]


def test_outputs_as_bytes(shared: Service, path: str, made: ModelFiles) -> None:
    pixels = made.test.images_NHW[:3]
    told, rest = split(
        send(shared, path, *binary(pixels, id="mine", parameters={"binary_data_output": True}))
    )
    assert told["id"] == "mine"
    assert told["model_name"] == path.rpartition("/")[2]
    assert told["model_version"] == "1"
    sizes = [output["parameters"]["binary_data_size"] for output in told["outputs"]]
    assert sizes[0] == 3 * 5 * 4
    assert sum(sizes) == len(rest)
    ours = np.frombuffer(rest[: sizes[0]], "<f4").reshape(3, 5)
    assert np.abs(ours - made.probabilities_NK[:3]).max() < 1e-5
    texts, labels = rest[sizes[0] :], list[str]()
    while texts:
        end = 4 + int.from_bytes(texts[:4], "little")
        labels.append(texts[4:end].decode())
        texts = texts[end:]
    names = names_of("fashion-mnist", made.half)
    assert labels == [names[best] for best in ours.argmax(1)]


def test_each_output_as_it_is_asked_for(shared: Service, path: str, made: ModelFiles) -> None:
    outputs = [
        {"name": "label", "parameters": {"binary_data": False}},
        {"name": "probabilities"},
    ]
    body, headers = binary(
        made.test.images_NHW[:1], outputs=outputs, parameters={"binary_data_output": True}
    )
    told, rest = split(send(shared, path, body, headers))
    assert [output["name"] for output in told["outputs"]] == ["label", "probabilities"]
    assert "data" in told["outputs"][0]
    assert "id" not in told
    assert len(rest) == 20


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_both_ways(
    shared: Service, path: str, made: ModelFiles, coding: str, pack: Any
) -> None:
    body, headers = binary(made.test.images_NHW[:70])
    more = {"Content-Encoding": coding, "Accept-Encoding": coding}
    answer = send(shared, path, pack(body), headers, **more)
    assert answer.headers["content-encoding"] == coding
    check(answer.json(), made)
    answer = send(shared, path, body, headers, **{"Accept-Encoding": f"br, {coding};q=0"})
    assert "content-encoding" not in answer.headers
    check(answer.json(), made)


def test_what_is_badly_compressed(shared: Service, path: str, made: ModelFiles) -> None:
    body, headers = binary(made.test.images_NHW[:1])
    packed = gzip.compress(body)
    for broken in (body, packed[:-9], packed + b"x", zlib.compress(body)):
        answer = send(shared, path, broken, headers, **{"Content-Encoding": "gzip"})
        refused(answer, 400, "bad_compression")
    answer = send(shared, path, body, headers, **{"Content-Encoding": "br"})
    refused(answer, 415, "unsupported_content_encoding")
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    bomb = gzip.compress(bytes(100_000_000))
    answer = send(shared, path, bomb, headers, **{"Content-Encoding": "gzip"})
    refused(answer, 413, "too_large")


BLANK = np.zeros((2, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"shape": [2, 28]}, "/inputs/0/shape"),
        ({"shape": []}, "/inputs/0/shape"),
        ({"shape": [0, 784]}, "/inputs/0/shape"),
        ({"shape": [-2, 784]}, "/inputs/0/shape"),
        ({"shape": [1025, 784]}, "/inputs/0/shape"),
        ({"shape": [2.5, 784]}, "/inputs/0/shape/0"),
        ({"datatype": "FP64"}, "/inputs/0/datatype"),
        ({"shape": [1, 784]}, "/inputs/0/parameters/binary_data_size"),
        ({"said": 10}, "/inputs/0/parameters/binary_data_size"),
        ({"said": "1568"}, "/inputs/0/parameters/binary_data_size"),
        ({"datatype": "FP32"}, "/inputs/0/parameters/binary_data_size"),
        ({"outputs": [{"name": "logits"}]}, "/outputs/0/name"),
        ({"outputs": [{}]}, "/outputs/0/name"),
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 3}}]},
            "/outputs/0/parameters/classification",
        ),
        *(
            (
                {"outputs": [{"name": "probabilities", "parameters": {"classification": odd}}]},
                "/outputs/0/parameters/classification",
            )
            for odd in (-1, 1.5, "2", True, [2])
        ),
        ({"id": 7}, "/id"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_pointed_to(
    shared: Service, path: str, changes: dict[str, Any], place: str
) -> None:
    refused(send(shared, path, *binary(BLANK, **changes)), 422, "invalid", place)


PIXELS = [[0] * 784, [0] * 784]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (None, "/inputs/0/data"),
        ([0] * 784, "/inputs/0/data"),
        ([[0] * 784], "/inputs/0/data"),
        ([[0] * 784, [0] * 783], "/inputs/0/data"),
        ([[0] * 784, [0] * 783 + ["0"]], "/inputs/0/data/1/783"),
        ([[0] * 784, [True] + [0] * 783], "/inputs/0/data/1/0"),
        ([[0] * 784, [0.5] + [0] * 783], "/inputs/0/data/1/0"),
        ([[0] * 784, [None] * 784], "/inputs/0/data/1/0"),
        ([[0] * 784, [256] + [0] * 783], "/inputs/0"),
        ([[0] * 784, [-1] + [0] * 783], "/inputs/0"),
        ([[0] * 784, [2**80] + [0] * 783], "/inputs/0"),
        ([{}, []], "/inputs/0/data/0"),
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_data_that_do_not_fit_are_pointed_to(
    shared: Service, path: str, data: Any, place: str
) -> None:
    refused(send_json(shared, path, shape=[2, 784], data=data), 422, "invalid", place)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 255.5])
def test_numbers_that_are_no_pixels(shared: Service, path: str, value: float) -> None:
    pixels = BLANK.astype(np.float32)
    pixels[1, 0, 3] = value
    answer = send(shared, path, *binary(pixels, datatype="FP32"))
    refused(answer, 422, "invalid", "/inputs/0")
    assert "number 787 " in answer.json()["error"]


def test_fractions_of_pixels_count(shared: Service, path: str, made: ModelFiles) -> None:
    """As the export takes them."""
    dark = made.test.images_NHW[:1].astype(np.float32) / 2
    halves = send(shared, path, *binary(dark, datatype="FP32")).json()["outputs"][0]["data"]
    whole = send(shared, path, *binary(dark.astype(np.uint8))).json()["outputs"][0]["data"]
    assert halves != whole
    assert np.abs(np.subtract(halves, whole)).max() < 0.05


def test_inputs_other_than_the_one(shared: Service, path: str) -> None:
    body = {"inputs": [{"name": "input_1", "shape": [1, 784], "datatype": "UINT8", "data": [0]}]}
    refused(shared.client.post(f"{path}/infer", json=body), 422, "invalid", "/inputs/0/name")
    body["inputs"][0]["name"] = "images"
    twice = {"inputs": body["inputs"] * 2}
    refused(shared.client.post(f"{path}/infer", json=twice), 422, "invalid", "/inputs")


def test_lengths_that_are_wrong(shared: Service, path: str) -> None:
    body, headers = binary(BLANK)
    refused(send(shared, path, body[:-1], headers), 400, "bad_length")
    refused(send(shared, path, body + b"x", headers), 400, "bad_length")
    refused(send(shared, path, body, {LENGTH: str(len(body) + 1)}), 400, "bad_length")
    for given in ("-1", "x", "1e3", "9" * 30):
        refused(send(shared, path, body, {LENGTH: given}), 400, "bad_length")
    refused(send(shared, path, body, {}), 400, "bad_json", "")
    refused(send(shared, path, body, {LENGTH: "10"}), 400, "bad_json", "")
    data = [0] * 784
    head = {"inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": data}]}
    text = json.dumps(head).encode()
    refused(send(shared, path, text + b"xy", {LENGTH: str(len(text))}), 400, "bad_length")


def test_the_most_pictures(shared: Service, path: str, made: ModelFiles) -> None:
    many = np.tile(made.test.images_NHW[:128], (8, 1, 1))
    told, rest = split(send(shared, path, *binary(many, parameters={"binary_data_output": True})))
    assert told["outputs"][0]["shape"] == [1024, 5]
    ours = np.frombuffer(rest[: 1024 * 20], "<f4").reshape(1024, 5)
    assert np.abs(ours[-128:] - made.probabilities_NK[:128]).max() < 1e-5
    too_long = bytes(30_000_000)
    refused(send(shared, path, too_long, {LENGTH: "5"}), 413, "too_large")


def test_a_query_is_refused(shared: Service, path: str) -> None:
    answer = shared.client.post(f"{path}/infer?x=1", content=b"{}")
    refused(answer, 422, "invalid", "?x")
