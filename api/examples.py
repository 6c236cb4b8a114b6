"""Requests that work when pasted, and answers as they look, for the OpenAPI document."""

from http import HTTPStatus
from typing import Any

from fmx_ml.requests import parse_request

JOB_ID = "01JDZ5T000000000000000000J"
RUN_ID = "01JDZ5T000000000000000000R"
MODEL_ID = "01JDZ5T000000000000000000M"

_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ETAG = f'"{_SHA256}"'

_MADE = "2026-03-01T09:00:00.000000Z"
_BEGUN = "2026-03-01T09:00:00.250000Z"
_ENDED = "2026-03-01T09:05:10.500000Z"

JOB_REQUESTS: dict[str, dict[str, Any]] = {
    "shortest": {"summary": "The report's Q1", "value": {"kind": "q1"}},
    "quick": {
        "summary": "A smoke version",
        "value": {"kind": "q1", "preset": "quick", "name": "first look", "tags": ["demo"]},
    },
    "full": {
        "summary": "Most fields",
        "value": {
            "kind": "q1",
            "preset": "report",
            "name": "three seeds",
            "tags": ["demo"],
            "priority": 5,
            "time_limit_seconds": 3600,
            "reuse": False,
            "spec": {
                "seeds": [0, 1, 2],
                "dataset": "fashion-mnist",
                "device": "auto",
                "max_epochs": 450,
                "batch_size": 100,
                "model": {"conv_layers": 2, "dense_layers": 2},
                "optimiser": {"name": "SGD", "learning_rate": 0.005, "weight_decay": 0.0},
            },
        },
    },
    "table 3": {
        "summary": "Q2: the report's ten configurations, three seeds each",
        "value": {"kind": "q2", "spec": {"seeds": [0, 1, 2]}},
    },
    "search": {
        "summary": "Q2: a search over a space of one's own",
        "value": {
            "kind": "q2",
            "spec": {
                "max_epochs": 30,
                "search": {
                    "method": "tpe",
                    "trials": 20,
                    "space": {"conv_layers": [2, 4], "batch_norm": [True], "flip": [True]},
                },
            },
        },
    },
    "filters": {
        "summary": "Q3: filters and feature maps, a smoke version",
        "value": {"kind": "q3", "preset": "quick"},
    },
    "pre-training": {
        "summary": "Q4: a perceptron with plain logits",
        "value": {"kind": "q4", "spec": {"mlp": {"model": {"output": "logits"}}}},
    },
    "transfer": {
        "summary": "Q5: transfer at a few fractions",
        "value": {"kind": "q5", "spec": {"fractions": [5, 25, 90]}},
    },
}

_REQUEST = parse_request({"kind": "q1", "preset": "quick"}).model_dump(mode="json")
_TRAINING: dict[str, Any] = {"task": "train_cnn", "seed": 0, "max_epochs": 15}

PROGRESS: dict[str, Any] = {
    "phase": "training",
    "completed": 4,
    "total": 15,
    "unit": "epoch",
    "eta_seconds": 11.0,
}
ENDED: dict[str, Any] = {
    "phase": "succeeded",
    "completed": 15,
    "total": 15,
    "unit": "epoch",
    "eta_seconds": 0.0,
}

JOB: dict[str, Any] = {
    "id": JOB_ID,
    "kind": "q1",
    "preset": "quick",
    "name": "first look",
    "tags": ["demo"],
    "state": "running",
    "reason": None,
    "error": None,
    "priority": 5,
    "time_limit_seconds": None,
    "spec": _REQUEST["spec"],
    "spec_hash": _SHA256,
    "created_at": _MADE,
    "started_at": _BEGUN,
    "finished_at": None,
    "progress": PROGRESS,
    "runs": {
        "queued": 0,
        "running": 1,
        "cancelling": 0,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
    },
    "models": [],
    "links": {
        "self": f"/v1/jobs/{JOB_ID}",
        "events": f"/v1/jobs/{JOB_ID}/events",
        "logs": f"/v1/jobs/{JOB_ID}/logs",
        "runs": f"/v1/jobs/{JOB_ID}/runs",
        "results": f"/v1/jobs/{JOB_ID}/results",
        "manifest": f"/v1/jobs/{JOB_ID}/manifest",
        "artifacts": f"/v1/jobs/{JOB_ID}/artifacts",
        "archive": f"/v1/jobs/{JOB_ID}/artifacts.zip",
        "cancel": f"/v1/jobs/{JOB_ID}/cancel",
        "retry": f"/v1/jobs/{JOB_ID}/retry",
    },
}

RUN: dict[str, Any] = {
    "id": RUN_ID,
    "job": JOB_ID,
    "name": "seed-0",
    "state": "succeeded",
    "reason": None,
    "error": None,
    "attempt": 1,
    "device": "auto",
    "params": _TRAINING,
    "progress": ENDED,
    "summary": {"best_epoch": 14, "val_accuracy": 0.9714, "test_accuracy": 0.9702},
    "model": MODEL_ID,
    "reused_from": None,
    "created_at": _MADE,
    "started_at": _BEGUN,
    "finished_at": _ENDED,
    "links": {
        "self": f"/v1/runs/{RUN_ID}",
        "job": f"/v1/jobs/{JOB_ID}",
        "metrics": f"/v1/runs/{RUN_ID}/metrics",
    },
}

METRICS: dict[str, Any] = {
    "run": RUN_ID,
    "columns": ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"],
    "rows": [[1, 0.3521, 0.8703, 0.1933, 0.9312, 1.02], [2, 0.1754, 0.9381, 0.1502, 0.946, 0.98]],
}

EVENTS = f"""id: 2
event: job
data: {{"state":"running","reason":null,"version":2}}

id: 3
event: run
data: {{"run":"{RUN_ID}","name":"seed-0","state":"running","reason":null,"attempt":1}}

"""
EVENT_LINES = (
    '{"id":"2","event":"job","data":{"state":"running","reason":null,"version":2}}\n'
    '{"id":"9-end","event":"end","data":{"state":"succeeded"}}\n'
)
LOG = "2026-03-01T09:00:01.250Z seed-0 #1 INFO epoch 1: train_loss 0.3521, seconds 1.0200\n"

RESULTS: dict[str, Any] = {
    "job": JOB_ID,
    "kind": "q1",
    "preset": "report",
    "dataset": "fashion-mnist",
    "tables": [
        {
            "name": "accuracy",
            "title": "Accuracy at the best epoch",
            "columns": ["set", "published", "ours"],
            "rows": [["test", 0.9816, 0.983]],
            "note": None,
        }
    ],
    "figures": [
        {
            "number": "1",
            "title": "Loss",
            "artifacts": ["figure-1-loss.png", "figure-1-loss.svg", "figure-1-loss.csv"],
        }
    ],
    "comparisons": [
        {
            "id": "q1.accuracy.test",
            "published": 0.9816,
            "ours": {
                "mean": 0.9837,
                "std": 0.0012,
                "n": 4,
                "values": [0.983, 0.9828, 0.9854, 0.9836],
            },
            "interval": [0.9795, 0.9879],
            "verdict": "inside",
            "reason": None,
            "errata": [],
        }
    ],
    "errata": [],
}

MANIFEST: dict[str, Any] = {
    "kind": "q1",
    "preset": "quick",
    "spec": _REQUEST["spec"],
    "spec_hash": _SHA256,
    "seeds": [0],
    "environments": [{"fmx": "0.1.0", "revision": "4f1c2d3", "torch": "2.14.1", "threads": 2}],
    "devices": ["cpu"],
    "data": [{"dataset": "fashion-mnist", "half": "fm1"}],
    "runs": [{"name": "seed-0", "seed": 0, "epochs": 15}],
}

ARTIFACT: dict[str, Any] = {
    "path": "figure-1-loss.png",
    "size_bytes": 48_213,
    "sha256": _SHA256,
    "media_type": "image/png",
    "created_at": _ENDED,
    "run": None,
    "links": {"self": f"/v1/jobs/{JOB_ID}/artifacts/figure-1-loss.png"},
}

MODEL: dict[str, Any] = {
    "id": MODEL_ID,
    "job": JOB_ID,
    "run": RUN_ID,
    "run_name": "seed-0",
    "kind": "q1",
    "dataset": "fashion-mnist",
    "classes": [
        {"class": 0, "label": "T-shirt/top"},
        {"class": 1, "label": "Trouser"},
        {"class": 4, "label": "Coat"},
        {"class": 5, "label": "Sandal"},
        {"class": 8, "label": "Bag"},
    ],
    "val_accuracy": 0.9714,
    "test_accuracy": 0.9702,
    "created_at": _ENDED,
    "links": {
        "self": f"/v1/models/{MODEL_ID}",
        "predict": f"/v1/models/{MODEL_ID}/predict",
        "job": f"/v1/jobs/{JOB_ID}",
        "onnx": f"/v1/jobs/{JOB_ID}/artifacts/seed-0/model.onnx",
        "weights": f"/v1/jobs/{JOB_ID}/artifacts/seed-0/model.safetensors",
        "description": f"/v1/jobs/{JOB_ID}/artifacts/seed-0/model.json",
    },
}

ALIAS: dict[str, Any] = {"name": "production", "model": MODEL_ID, "updated_at": _ENDED}
ALIAS_REQUESTS: dict[str, dict[str, Any]] = {
    "promote": {"summary": "The model's id", "value": {"model": MODEL_ID}}
}

DATASET_NAME = "digits"
DATASET: dict[str, Any] = {
    "name": DATASET_NAME,
    "sha256": "3a7bd3e2360a3d29eea436fcfb7e44c735d117c42d1c1835420b6b9942dd4f1b",
    "size_bytes": 54_950_512,
    "classes": [
        {"class": digit, "label": str(digit), "half": half, "train": 6000, "test": 1000}
        for half, digits in (("fm1", range(5)), ("fm2", range(5, 10)))
        for digit in digits
    ],
    "notes": [],
    "created_at": _ENDED,
    "links": {"self": f"/v1/datasets/{DATASET_NAME}"},
}

_STROKE = [0] * 10 + [200] * 3 + [0] * 2 + [200] * 3 + [0] * 10
PREDICT_REQUESTS: dict[str, dict[str, Any]] = {
    "rows": {"summary": "Rows of the model's test set", "value": {"test_rows": [0, 1, 2]}},
    "pixels": {
        "summary": "One picture as pixels",
        "value": {"images": [[[0] * 28] * 2 + [_STROKE] * 24 + [[0] * 28] * 2]},
    },
}

PREDICTIONS: dict[str, Any] = {
    "model": MODEL_ID,
    "predictions": [
        {
            "label": "Trouser",
            "class": 1,
            "probabilities": {
                "T-shirt/top": 0.01,
                "Trouser": 0.97,
                "Coat": 0.01,
                "Sandal": 0.0,
                "Bag": 0.01,
            },
            "row": 0,
            "actual": "Trouser",
        }
    ],
}

_PICTURE = "data:image/png;base64,iVBORw0KGgo…"
FEATURE_MAPS: dict[str, Any] = {
    "model": MODEL_ID,
    "feature_maps": [
        {
            **PREDICTIONS["predictions"][0],
            "input": {"shape": [28, 28], "picture": _PICTURE},
            "layers": [
                {
                    "name": "conv1",
                    "meaning": "feature maps of convolution 1 after its relu, before any pooling",
                    "shape": [6, 24, 24],
                    "minimum": 0.0,
                    "maximum": 2.4172,
                    "picture": _PICTURE,
                },
                {
                    "name": "conv2",
                    "meaning": "feature maps of convolution 2 after its relu, before any pooling",
                    "shape": [12, 8, 8],
                    "minimum": 0.0,
                    "maximum": 5.1093,
                    "picture": _PICTURE,
                },
            ],
        }
    ],
}

VALIDATION: dict[str, Any] = {
    "kind": "q1",
    "preset": "quick",
    "spec": _REQUEST["spec"],
    "spec_hash": _SHA256,
    "runs": [
        {
            "name": "seed-0",
            "params": _TRAINING,
            "max_epochs": 15,
            "needs": [],
            "taken_from": None,
        }
    ],
    "estimate": {
        "epochs_at_most": 15,
        "seconds_at_most": None,
        "basis": "no training of this network with this batch size has finished here yet",
    },
}

KIND: dict[str, Any] = {
    "kind": "q1",
    "title": "Q1: one convolutional network trained until its validation loss converges.",
    "description": 'A job of kind q1; `{"kind": "q1"}` alone is the report\'s Q1.',
    "schema": {"type": "object"},
    "defaults": {"kind": "q1", "preset": "report"},
    "presets": {"report": {}, "quick": {"max_epochs": 15}},
    "published": {"best_epoch": 205},
}

READINESS: dict[str, Any] = {
    "status": "ok",
    "checks": {
        name: {"ok": True, "detail": "works"}
        for name in ("database", "broker", "storage", "migrations", "disk")
    },
    "engine": "kernel, compiled by c++ when first needed",
}

PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": HTTPStatus.UNPROCESSABLE_ENTITY.phrase,
    "status": 422,
    "detail": "the request does not fit its schema: /spec/max_epochs",
    "instance": "/v1/jobs",
    "code": "invalid",
    "request_id": "b7f1c0ffee0ddba11",
    "errors": [
        {
            "pointer": "/spec/max_epochs",
            "code": "less_than_equal",
            "detail": "Input should be less than or equal to 10000",
        }
    ],
}


def page(item: dict[str, Any]) -> dict[str, Any]:
    """A list's last page with one item."""
    return {"items": [item], "next_cursor": None}


CURVES: dict[str, Any] = {
    "job": JOB_ID,
    "columns": METRICS["columns"][:-1],
    "runs": [
        {
            "run": RUN_ID,
            "name": "seed-0",
            "state": "succeeded",
            "attempt": 1,
            "rows": [row[:-1] for row in METRICS["rows"]],
        }
    ],
}
