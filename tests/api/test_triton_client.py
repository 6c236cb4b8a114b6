"""NVIDIA's own client of the protocol, as it is published: every call that a server can answer."""

import asyncio
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from http_service import Service
from model_files import ModelFiles
from tritonclient.utils import InferenceServerException

from fmx_ml.data.classes import names_of

MANY = 300  # pictures: enough for an answer that is worth compressing


@pytest.fixture
def client(shared: Service) -> Generator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address_of(shared), concurrency=4) as client:
        yield client


def address_of(service: Service) -> str:
    return service.server.url.removeprefix("http://")


def tensor(made: ModelFiles, count: int, *, binary: bool, datatype: str = "UINT8") -> Any:
    pixels = np.resize(made.test.images_NHW, (count, 28, 28))
    given = triton.InferInput("images", list(pixels.shape), datatype)
    dtype = np.uint8 if datatype == "UINT8" else np.float32
    given.set_data_from_numpy(pixels.astype(dtype), binary_data=binary)
    return given


def expected(made: ModelFiles, count: int) -> Any:
    return np.resize(made.probabilities_NK, (count, made.probabilities_NK.shape[1]))


def check(result: Any, made: ModelFiles, count: int) -> None:
    probabilities_NK = result.as_numpy("probabilities")
    assert np.abs(probabilities_NK - expected(made, count)).max() < 1e-5
    names = names_of("fashion-mnist", made.half)
    labels = [
        text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("label")
    ]
    assert labels == [names[best] for best in probabilities_NK.argmax(1)]


def test_health_and_metadata(client: triton.InferenceServerClient, model_id: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model_id)
    assert client.is_model_ready(model_id, "1")
    assert not client.is_model_ready(model_id, "2")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "fmx"
    for version in ("", "1"):
        metadata = client.get_model_metadata(model_id, version)
        assert (metadata["name"], metadata["versions"]) == (model_id, ["1"])
        config = client.get_model_config(model_id, version)
        assert (config["name"], config["max_batch_size"]) == (model_id, 1024)
        shapes = [[-1, *item["dims"]] for item in config["input"]]
        assert shapes == [item["shape"] for item in metadata["inputs"]]
        types = [item["data_type"] for item in config["output"]]
        assert types == ["TYPE_FP32", "TYPE_STRING"]


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("version", ["", "1"])
def test_predictions(
    client: triton.InferenceServerClient,
    model_id: str,
    made: ModelFiles,
    binary: bool,
    datatype: str,
    version: str,
) -> None:
    given = tensor(made, 5, binary=binary, datatype=datatype)
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "label")
    ]
    result = client.infer(model_id, [given], version, outputs=outputs, request_id="mine")
    check(result, made, 5)
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_name"] == model_id
    check(client.infer(model_id, [given], priority=1, timeout=1000), made, 5)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("asked", "told"), [(1, 1), (3, 3), (99, 5)])
def test_the_most_probable_classes(
    client: triton.InferenceServerClient,
    model_id: str,
    made: ModelFiles,
    binary: bool,
    asked: int,
    told: int,
) -> None:
    output = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=asked)
    result = client.infer(model_id, [tensor(made, 4, binary=True)], outputs=[output])
    ranked = result.as_numpy("probabilities")
    assert ranked is not None
    assert ranked.shape == (4, told)
    names = names_of("fashion-mnist", made.half)
    for row_K, texts in zip(made.probabilities_NK[:4], ranked.tolist(), strict=True):
        parts = [(t.decode() if isinstance(t, bytes) else t).split(":") for t in texts]
        best = sorted(range(5), key=lambda index: -row_K[index])[:told]
        assert [int(index) for _, index, _ in parts] == best
        assert [label for *_, label in parts] == [names[index] for index in best]
        assert [float(score) for score, *_ in parts] == pytest.approx(row_K[best], abs=1e-5)


@pytest.mark.parametrize("up", [None, "gzip", "deflate"])
@pytest.mark.parametrize("down", [None, "gzip", "deflate"])
def test_compression_both_ways(
    client: triton.InferenceServerClient,
    model_id: str,
    made: ModelFiles,
    up: str | None,
    down: str | None,
) -> None:
    result = client.infer(
        model_id,
        [tensor(made, MANY, binary=True)],
        request_compression_algorithm=up,
        response_compression_algorithm=down,
    )
    check(result, made, MANY)


def test_many_at_once(
    client: triton.InferenceServerClient, model_id: str, made: ModelFiles
) -> None:
    asked = [client.async_infer(model_id, [tensor(made, n, binary=True)]) for n in range(1, 9)]
    for count, request in enumerate(asked, start=1):
        check(request.get_result(), made, count)


def test_the_repository(
    client: triton.InferenceServerClient, shared: Service, model_id: str
) -> None:
    shared.client.put("/v1/models/aliases/blue", json={"model": model_id})
    client.load_model(model_id)
    states = {item["name"]: item["state"] for item in client.get_model_repository_index()}
    assert (states[model_id], states["blue"]) == ("READY", "READY")
    client.unload_model(model_id, unload_dependents=True)
    (item,) = [i for i in client.get_model_repository_index() if i["name"] == model_id]
    assert (item["state"], item["reason"]) == ("UNAVAILABLE", "not in memory: a request loads it")
    ready = shared.client.post("/v2/repository/index", json={"ready": True}).json()
    assert model_id not in [item["name"] for item in ready]
    client.load_model("blue")
    states = {item["name"]: item["state"] for item in client.get_model_repository_index()}
    assert states[model_id] == "READY"
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="there is no model 'none'"):
            change("none")
    with pytest.raises(InferenceServerException, match="nothing of it can be changed"):
        client.load_model(model_id, config="{}")
    shared.client.delete("/v1/models/aliases/blue")


def test_statistics(
    client: triton.InferenceServerClient, shared: Service, made: ModelFiles
) -> None:
    job_id = shared.run_to_success(files=made.files, model=True)
    model_id = shared.get(f"/v1/jobs/{job_id}")["models"][0]
    (before,) = client.get_inference_statistics(model_id)["model_stats"]
    assert (before["inference_count"], before["last_inference"]) == (0, 0)
    for count in (3, 3, 7):
        client.infer(model_id, [tensor(made, count, binary=True)])
    (of_one,) = client.get_inference_statistics(model_id, "1")["model_stats"]
    of_all = client.get_inference_statistics()["model_stats"]
    assert of_one in of_all
    assert (of_one["name"], of_one["version"]) == (model_id, "1")
    assert (of_one["inference_count"], of_one["execution_count"]) == (13, 3)
    spans = of_one["inference_stats"]
    assert {name: span["count"] for name, span in spans.items()} == {
        "success": 3, "fail": 0, "queue": 3, "cache_hit": 0, "cache_miss": 0,
        "compute_input": 3, "compute_infer": 3, "compute_output": 3,
    }  # fmt: skip
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert spans["success"]["ns"] == sum(spans[part]["ns"] for part in parts)
    sizes = {item["batch_size"]: item["compute_infer"]["count"] for item in of_one["batch_stats"]}
    assert sizes == {3: 2, 7: 1}
    assert shared.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    names = [item["name"] for item in client.get_inference_statistics()["model_stats"]]
    assert model_id not in names


UNSERVED = {
    "get_trace_settings": {},
    "update_trace_settings": {"settings": {"trace_rate": "1"}},
    "get_log_settings": {},
    "update_log_settings": {"settings": {"log_info": False}},
    "get_system_shared_memory_status": {},
    "register_system_shared_memory": {"name": "a", "key": "/a", "byte_size": 8},
    "unregister_system_shared_memory": {"name": "a"},
    "get_cuda_shared_memory_status": {},
    "register_cuda_shared_memory": {
        "name": "a", "raw_handle": b"a", "device_id": 0, "byte_size": 8,
    },
    "unregister_cuda_shared_memory": {},
}  # fmt: skip


@pytest.mark.parametrize("call", UNSERVED)
def test_extensions_that_are_not_served_say_so(
    client: triton.InferenceServerClient, call: str
) -> None:
    with pytest.raises(InferenceServerException, match="this extension is not served") as caught:
        getattr(client, call)(**UNSERVED[call])
    assert caught.value.status() == "404"


def test_errors_are_the_protocols_own(
    client: triton.InferenceServerClient, model_id: str, made: ModelFiles
) -> None:
    wrong = triton.InferInput("images", [1, 3], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 3), np.uint8))
    with pytest.raises(InferenceServerException, match="/inputs/0/shape") as caught:
        client.infer(model_id, [wrong])
    assert caught.value.status() == "422"
    shared_memory = triton.InferInput("images", [1, 784], "UINT8")
    shared_memory.set_shared_memory("region", 784)
    with pytest.raises(InferenceServerException, match="this extension is not served"):
        client.infer(model_id, [shared_memory])
    with pytest.raises(InferenceServerException, match="there is no model 'none'"):
        client.infer("none", [tensor(made, 1, binary=True)])


def test_the_client_for_asyncio(shared: Service, model_id: str, made: ModelFiles) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(address_of(shared)) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready(model_id)
            assert (await client.get_server_metadata())["name"] == "fmx"
            assert (await client.get_model_metadata(model_id))["name"] == model_id
            assert (await client.get_model_config(model_id))["name"] == model_id
            await client.load_model(model_id)
            await client.unload_model(model_id)
            assert model_id in [i["name"] for i in await client.get_model_repository_index()]
            for coding in (None, "gzip", "deflate"):
                result = await client.infer(
                    model_id,
                    [tensor(made, MANY, binary=True)],
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                check(result, made, MANY)
            (told,) = (await client.get_inference_statistics(model_id))["model_stats"]
            assert told["inference_count"] >= 3 * MANY
            with pytest.raises(InferenceServerException, match="this extension is not served"):
                await client.get_trace_settings()

    asyncio.run(ask())
