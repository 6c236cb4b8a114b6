"""A whole fmx under test: the real server and a real worker, as processes of this machine."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from services import ROOT, Column

T = TypeVar("T")

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class Process:
    """A process of the project in a session of its own, and the lines it has printed so far."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], place: Sequence[str] = ()
    ) -> None:
        """Starts it; `place` is a command that starts it elsewhere, on a host of its own."""
        self.popen = subprocess.Popen(
            [*place, sys.executable, "-m", *command],
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    def _find(self, pattern: str) -> re.Match[str] | None:
        return next((m for line in list(self.lines) if (m := re.search(pattern, line))), None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line that has the pattern."""

        def look() -> re.Match[str] | None:
            assert self.popen.poll() is None or self._find(pattern), "".join(self.lines)
            return self._find(pattern)

        return wait_until(look, START_SECONDS, lambda: "".join(self.lines))

    def kill(self) -> None:
        """SIGKILL for this process alone, as a crash or the kernel would."""
        self.popen.kill()
        self.popen.wait(STOP_SECONDS)

    def stop(self) -> int:
        """SIGINT, as Ctrl-C sends it, to the whole session; the exit status."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGINT)
        return self.popen.wait(STOP_SECONDS)

    def clear(self) -> None:
        """Ends what is left of the session."""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.popen.wait(STOP_SECONDS)


@contextmanager
def running(
    command: Sequence[str], environment: dict[str, str], place: Sequence[str] = ()
) -> Generator[Process]:
    """A process for a while; nothing of it is left afterwards."""
    process = Process(command, environment, place)
    try:
        yield process
    finally:
        process.clear()


@contextmanager
def serve(column: Column, **settings: object) -> Generator[tuple[Process, httpx.Client]]:
    """`python -m api.serve`, ready, and a client of it."""
    with running(["api.serve"], column.process_environment(port=0, **settings)) as process:
        url = process.wait_for(r"ready at (http://\S+)")[1]
        with httpx.Client(base_url=url, timeout=30) as client:
            yield process, client


def fmx_data(column: Column, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command `fmx data` on a column's record."""
    command = [sys.executable, "-m", "fmx_client.cli", "data", *arguments]
    environment = column.process_environment()
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def wait_until(
    look: Callable[[], T | None], seconds: float, explain: Callable[[], object] = lambda: ""
) -> T:
    """What `look` finds at last."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s: {explain()}"
        time.sleep(0.05)
    return found


def job_of(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job's body."""
    return client.get(f"/v1/jobs/{job_id}").raise_for_status().json()


def submit(client: httpx.Client, **request: Any) -> str:
    """A new job's id."""
    answer = client.post("/v1/jobs", json={"kind": "q1", **request})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return answer.json()["id"]


def wait_for_end(client: httpx.Client, job_id: str, seconds: float = 120) -> dict[str, Any]:
    """The job's body once it has ended."""

    def ended() -> dict[str, Any] | None:
        body = job_of(client, job_id)
        return body if body["state"] in {"succeeded", "failed", "cancelled"} else None

    return wait_until(ended, seconds, lambda: job_of(client, job_id))


def trainers_at_work(data_dir: Path) -> list[int]:
    """The ids of trainers that have an order: their output goes to a log in the scratch folder."""

    def prints_to_a_log(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/fd/1").readlink().is_relative_to(data_dir / "scratch")
        except OSError:
            return False

    return list(filter(prints_to_a_log, processes_of(data_dir)))


def processes_of(data_dir: Path, module: str = "worker.trainer") -> list[int]:
    """The ids of processes that run a module of the project on this data folder."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if module.encode() in command and f"FMX_DATA_DIR={data_dir}\0".encode() in environment:
            found.append(int(entry.name))
    return found
