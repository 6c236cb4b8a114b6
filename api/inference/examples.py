"""Examples of the Open Inference Protocol's bodies, for the document."""

from typing import Any

from api import examples
from api.inference.describing import EXTENSIONS

SERVER: dict[str, Any] = {"name": "fmx", "version": "0.1.0", "extensions": EXTENSIONS}

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

CONFIG: dict[str, Any] = {
    "name": examples.MODEL_ID,
    "platform": "onnxruntime_onnx",
    "backend": "onnxruntime",
    "max_batch_size": 1024,
    "input": [{"name": "images", "data_type": "TYPE_FP32", "dims": [1, 28, 28]}],
    "output": [
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [5]},
        {"name": "label", "data_type": "TYPE_STRING", "dims": [1], "reshape": {"shape": []}},
    ],
    "dynamic_batching": {"preferred_batch_size": [128], "max_queue_delay_microseconds": 2000},
}

INDEX: list[dict[str, Any]] = [
    {"name": "production", "version": "1", "state": "READY", "reason": ""},
    {"name": examples.MODEL_ID, "version": "1", "state": "READY", "reason": ""},
]
INDEX_REQUESTS: dict[str, dict[str, Any]] = {
    "ready": {"summary": "Only what is in memory", "value": {"ready": True}}
}
LOAD_REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {"summary": "As it is", "value": {"parameters": {}}}
}

_NEVER, _ONCE = {"count": 0, "ns": 0}, {"count": 1, "ns": 41000}
_COMPUTED = {"compute_input": _ONCE, "compute_infer": _ONCE, "compute_output": _ONCE}
STATISTICS: dict[str, Any] = {
    "model_stats": [
        {
            "name": examples.MODEL_ID,
            "version": "1",
            "last_inference": 1795788000000,
            "inference_count": 1,
            "execution_count": 1,
            "inference_stats": {
                "success": _ONCE,
                "fail": _NEVER,
                "queue": _ONCE,
                **_COMPUTED,
                "cache_hit": _NEVER,
                "cache_miss": _NEVER,
            },
            "batch_stats": [{"batch_size": 1, **_COMPUTED}],
        }
    ]
}
