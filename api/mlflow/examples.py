"""What mlflow's part of the OpenAPI document shows."""

from typing import Any

from api.examples import JOB_ID, RUN_ID

_MOMENT = 1_772_355_600_000

EXPERIMENT: dict[str, Any] = {
    "experiment_id": JOB_ID,
    "name": f"q1 {JOB_ID}",
    "artifact_location": f"mlflow-artifacts:/{JOB_ID}",
    "lifecycle_stage": "active",
    "creation_time": _MOMENT,
    "last_update_time": _MOMENT + 300_000,
    "tags": [{"key": "fmx.kind", "value": "q1"}, {"key": "fmx.state", "value": "succeeded"}],
}
METRIC: dict[str, Any] = {
    "key": "val_accuracy",
    "value": 0.9714,
    "timestamp": _MOMENT + 299_000,
    "step": 120,
}
RUN: dict[str, Any] = {
    "info": {
        "run_id": RUN_ID,
        "run_uuid": RUN_ID,
        "run_name": "seed-0",
        "experiment_id": JOB_ID,
        "user_id": "ada",
        "status": "FINISHED",
        "start_time": _MOMENT,
        "end_time": _MOMENT + 300_000,
        "artifact_uri": f"mlflow-artifacts:/{JOB_ID}/seed-0",
        "lifecycle_stage": "active",
    },
    "data": {
        "metrics": [METRIC],
        "params": [{"key": "optimiser.learning_rate", "value": "0.005"}],
        "tags": [{"key": "mlflow.runName", "value": "seed-0"}],
    },
}
SEARCH: dict[str, Any] = {
    "experiment_ids": [JOB_ID],
    "filter": "metrics.val_accuracy > 0.9 AND params.`optimiser.name` = 'SGD'",
    "order_by": ["metrics.val_accuracy DESC"],
    "max_results": 10,
}
FILE: dict[str, Any] = {"path": "model.onnx", "is_dir": False, "file_size": 180_000}
