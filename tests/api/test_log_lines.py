"""The server's log, as programs read it."""

import json
from typing import Any

import httpx
import pytest
from services import Column
from stack import Process, running

REQUEST_ID = "a-request-of-mine"


def start(column: Column, process: Process) -> httpx.Client:
    del column
    url = process.wait_for(r"listens on (http://\S+)")[1]
    return httpx.Client(base_url=url, timeout=30)


def spoil(column: Column) -> None:
    """No record can be read any more."""
    (column.data_dir / "fmx.sqlite3").write_bytes(b"no database at all" * 100)


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_fails_is_logged_with_its_ids(embedded_column: Column, form: str) -> None:
    environment = embedded_column.process_environment(port=0, log_format=form)
    job_id = "01JX0000000000000000000000"
    with running(["api"], environment) as process, start(embedded_column, process) as client:
        spoil(embedded_column)
        headers = {"X-Request-ID": REQUEST_ID}
        answer = client.get(f"/v1/jobs/{job_id}/runs", headers=headers)
        assert answer.status_code >= 500
        process.wait_for(REQUEST_ID)
        process.stop()
    lines = [line for line in process.lines if REQUEST_ID in line]
    if form == "text":
        assert any(line.endswith(f"[request_id={REQUEST_ID} job={job_id}]\n") for line in lines)
    else:
        assert any(is_of(json.loads(line), job_id) for line in lines)
        for line in process.lines:
            if not line.startswith(("fmx listens on ", "keys are off")):
                json.loads(line)


def is_of(value: dict[str, Any], job_id: str) -> bool:
    return (value.get("request_id"), value.get("job")) == (REQUEST_ID, job_id)
