"""A server with its worker for a while, as `make serve` starts them, on data of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fmx_store.database import Database
from fmx_store.settings import Settings

ROOT = Path(__file__).parents[1]
READY = "fmx is ready at "
STOP_SECONDS = 20.0
ENDED = ("succeeded", "failed", "cancelled")


@contextmanager
def serve(**settings: object) -> Generator[tuple[httpx.Client, Database]]:
    """A client of a server and a worker that are ready, and their record."""
    with tempfile.TemporaryDirectory(prefix="fmx-bench-") as folder:
        given = {"data_dir": folder, "port": 0, "log_level": "WARNING", **settings}
        environment = {f"FMX_{name.upper()}": str(value) for name, value in given.items()}
        process = subprocess.Popen(
            [sys.executable, "-m", "api.serve"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            ready = next(line for line in process.stdout if line.startswith(READY))
            db = Database(Settings(data_dir=Path(folder)).database)
            with httpx.Client(base_url=ready.removeprefix(READY).strip(), timeout=60) as client:
                yield client, db
            db.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


@contextmanager
def run_redis() -> Generator[str | None]:
    """The URL of a Redis that keeps nothing; None where the machine has no Redis."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for_port(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def submit(client: httpx.Client, **request: Any) -> tuple[str, float]:
    """A new job's id, and the moment of the answer, in seconds since the epoch."""
    answer = client.post("/v1/jobs", json={"kind": "q1", **request}).raise_for_status()
    return answer.json()["id"], time.time()


def wait_for_end(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job, which must succeed."""
    while True:
        answer = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
        body = answer.raise_for_status().json()
        if body["state"] in ENDED:
            assert body["state"] == "succeeded", body
            return body
