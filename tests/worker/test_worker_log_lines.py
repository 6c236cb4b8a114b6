"""A worker's log, as programs read it."""

import json
from typing import Any

from workers import CRASHES_ONCE, Record, run_worker

from fmx_store.states import State


def test_every_line_is_an_object_with_the_ids_of_its_run(record: Record) -> None:
    job_id = record.submit(ml=CRASHES_ONCE)
    with run_worker(record, log_format="json", worker_pack=1) as worker:
        assert record.wait_for_end(job_id).state is State.SUCCEEDED
    told: list[dict[str, Any]] = [json.loads(line) for line in worker.log.read_text().splitlines()]
    training, collation = record.runs(job_id)
    begun = [
        (value["job"], value["run"], value["attempt"])
        for value in told
        if value["message"].endswith(": begins")
    ]
    assert begun == [
        (job_id, training.id, 1),
        (job_id, training.id, 2),
        (job_id, collation.id, 1),
    ]
    assert {value["level"] for value in told} >= {"INFO", "WARNING"}
    assert all(value["time"] and value["logger"] for value in told)
