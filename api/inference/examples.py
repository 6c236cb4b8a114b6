"""Examples of the Open Inference Protocol's bodies, for the document."""

from typing import Any

from api import examples

SERVER: dict[str, Any] = {"name": "fmx", "version": "0.1.0", "extensions": ["binary_tensor_data"]}

MODEL: dict[str, Any] = {
    "name": examples.MODEL_ID,
    "versions": ["1"],
    "platform": "onnxruntime_onnx",
    "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
    "outputs": [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 5]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ],
}

_PIXELS = [0] * 392 + [200] * 392

REQUESTS: dict[str, dict[str, Any]] = {
    "json": {
        "summary": "One picture as JSON",
        "value": {
            "id": "1",
            "inputs": [
                {"name": "images", "datatype": "UINT8", "shape": [1, 784], "data": _PIXELS},
            ],
            "outputs": [{"name": "label"}],
        },
    },
}

RESPONSE: dict[str, Any] = {
    "model_name": examples.MODEL_ID,
    "model_version": "1",
    "id": "1",
    "outputs": [{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["Trouser"]}],
}
