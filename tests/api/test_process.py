"""`python -m api` as a process: what it loads, how it starts, and how it stops."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import httpx
import pytest
from services import ROOT, Column, stop

IMPORT_SECONDS = 1.5
START_SECONDS = 30.0


@contextmanager
def started(environment: dict[str, str]) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A server process and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("fmx listens on http://127.0.0.1:"), line
        yield process, line.split()[-1]
    finally:
        stop(process)  # pyright: ignore[reportArgumentType] - of text or of bytes
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_importing_the_server_is_fast_and_loads_no_training() -> None:
    """In seconds of a core, as `python -m api` starts: other programs hardly count."""
    code = (
        "import gc, json, sys, time\n"
        "gc.disable()\n"
        "began = time.process_time()\n"
        "import api.main\n"
        "print(json.dumps([time.process_time() - began, sorted(sys.modules)]))\n"
    )
    answers = [json.loads(run(code)) for _ in range(3)]
    assert min(seconds for seconds, _ in answers) < IMPORT_SECONDS
    packages = {name.partition(".")[0] for name in answers[0][1]}
    unwanted = {"torch", "torchvision", "matplotlib", "onnx", "onnxruntime", "typst", "worker"}
    assert not packages & unwanted


def test_it_listens_when_it_says_so(embedded_column: Column) -> None:
    with started(embedded_column.process_environment(port=0)) as (process, url):
        assert httpx.get(f"{url}/readyz").json()["status"] == "ok"
        assert httpx.get(f"{url}/v1/jobs").json() == {"items": [], "next_cursor": None}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == (
            "keys are off: whoever reaches this address may do everything\n"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_soon_with_long_polls_open(embedded_column: Column, number: int) -> None:
    answers: list[httpx.Response] = []

    def poll() -> None:
        headers = {"Prefer": "wait=60"}
        answers.append(httpx.get(f"{url}/v1/jobs/{job_id}", headers=headers, timeout=60))

    with started(embedded_column.process_environment(port=0)) as (process, url):
        job_id = httpx.post(f"{url}/v1/jobs", json={"kind": "q1"}).json()["id"]
        threads = [threading.Thread(target=poll) for _ in range(10)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
        for thread in threads:
            thread.join()
    assert [answer.json()["state"] for answer in answers] == ["queued"] * 10


def test_a_client_that_does_not_read_does_not_keep_it(embedded_column: Column) -> None:
    with started(embedded_column.process_environment(port=0)) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as half:
            half.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            half.sendall(b"Content-Length: 100\r\n\r\n{")
            time.sleep(0.5)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert time.monotonic() - began < 7


def test_nothing_recorded_is_lost_by_a_kill(embedded_column: Column) -> None:
    environment = embedded_column.process_environment(port=0)
    with started(environment) as (process, url):
        ids = [httpx.post(f"{url}/v1/jobs", json={"kind": "q1"}).json()["id"] for _ in range(5)]
        process.kill()
        process.wait(10)
    with started(environment) as (_, url):
        items = httpx.get(f"{url}/v1/jobs").json()["items"]
    assert [item["id"] for item in items] == ids[::-1]


def fail(arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


def test_a_port_that_is_taken(embedded_column: Column) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = fail(["api"], embedded_column.process_environment(port=port))
    assert done.returncode == 1
    assert "fmx listens" not in done.stdout
    assert str(port) in done.stderr


def test_a_setting_that_is_wrong(embedded_column: Column) -> None:
    environment = embedded_column.process_environment(port=70_000, log_level="LOUD")
    done = fail(["api"], environment)
    assert done.returncode == 2
    assert "FMX_PORT: " in done.stderr
    assert "FMX_LOG_LEVEL: " in done.stderr
    assert "Traceback" not in done.stderr
