"""Divergence is said: at which step the loss was no number, in JSON that anyone can read."""

import json
import re
from typing import Any

from fleet import Fleet

SPEC = {"dataset": "synthetic", "batch_size": 500, "optimiser": {"learning_rate": 1e30}}


def refuse(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def test_divergence_is_said(fleet: Fleet) -> None:
    fleet.start_server()
    fleet.start_worker(doubles=False, worker_engine="torch")
    job_id = fleet.submit(epochs=3, spec=SPEC)
    body = fleet.wait_for_end(job_id, 120)
    assert (body["state"], body["reason"]) == ("failed", "nan_loss")
    [run] = fleet.runs(job_id)
    assert run["error"]["code"] == "nan_loss"
    assert re.search(r"epoch 1\b.*step \d+", run["error"]["message"]), run["error"]
    for path in (
        "/v1/jobs",
        f"/v1/jobs/{job_id}",
        f"/v1/jobs/{job_id}/runs",
        f"/v1/jobs/{job_id}/results",
        f"/v1/jobs/{job_id}/artifacts",
        f"/v1/runs/{run['id']}",
        f"/v1/runs/{run['id']}/metrics",
    ):
        json.loads(fleet.client.get(path).content, parse_constant=refuse)
    fleet.check()
