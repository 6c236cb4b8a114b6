"""`python -m api.serve`: server and worker in one command, and nothing left when it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from http_service import wait_until
from services import ROOT, Column

START_SECONDS = 60.0
STOP_SECONDS = 25.0


class Serve:
    """The command under test, and the lines it has printed."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Starts it, in a session of its own as a terminal would."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api.serve"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: object, lines: list[str]) -> None:
        assert hasattr(pipe, "readline")
        with pipe as opened:  # pyright: ignore[reportUnknownVariableType, reportGeneralTypeIssues] - a pipe
            lines.extend(iter(opened.readline, ""))

    def find(self, pattern: str) -> re.Match[str] | None:
        return next((m for line in list(self.lines) if (m := re.search(pattern, line))), None)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS)
        for reader in self._readers:
            reader.join(10)


def processes_of(data_dir: Path) -> dict[int, str]:
    """Every process with this data folder in its environment, and its command."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"FMX_DATA_DIR={data_dir}\0".encode() in environment and command:
            found[int(entry.name)] = command
    return found


@contextmanager
def serving(column: Column, **values: object) -> Generator[tuple[Serve, str]]:
    """The command, ready, and the server's URL."""
    serve = Serve(column.process_environment(port=0, **values))
    try:
        ready = wait_until(
            lambda: serve.find(r"fmx is ready at (http://\S+)") or serve.process.poll() is not None,
            START_SECONDS,
        )
        assert isinstance(ready, re.Match), serve.errors
        yield serve, ready[1]
    finally:
        serve.close()
        for number in processes_of(column.data_dir):
            os.kill(number, signal.SIGKILL)


def ended(column: Column) -> bool:
    return not processes_of(column.data_dir)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_command_starts_and_stops_everything(tmp_path: Path, number: int) -> None:
    """On a data folder where there is nothing yet."""
    column = Column("embedded", {"FMX_DATA_DIR": str(tmp_path / "new")})
    with serving(column) as (serve, url):
        assert httpx.get(f"{url}/readyz").json()["status"] == "ok"
        commands = processes_of(column.data_dir).values()
        assert any("-m api " in command for command in commands)
        assert any("-m worker" in command for command in commands)
        began = time.monotonic()
        serve.process.send_signal(number)
        assert serve.process.wait(STOP_SECONDS) == 0, serve.errors
        assert time.monotonic() - began < 10
        wait_until(lambda: ended(column), 5)


def find(column: Column, part: str) -> int:
    """The oldest process with the part in its command."""
    return min(n for n, command in processes_of(column.data_dir).items() if part in command)


@pytest.mark.parametrize(("part", "other"), [("-m api ", "worker"), ("-m worker", "api")])
def test_if_one_dies_the_other_is_stopped(embedded_column: Column, part: str, other: str) -> None:
    with serving(embedded_column) as (serve, _):
        os.kill(find(embedded_column, part), signal.SIGKILL)
        assert serve.process.wait(STOP_SECONDS) == 1
        wait_until(lambda: ended(embedded_column), 5)
        serve.close()
        told = [line for line in serve.errors if "ended with status -9" in line]
        assert told
        assert other not in told[0]


def test_nothing_is_left_if_it_is_killed(embedded_column: Column) -> None:
    with serving(embedded_column) as (serve, _):
        serve.process.kill()
        wait_until(lambda: ended(embedded_column), STOP_SECONDS)


def test_a_signal_during_the_start(embedded_column: Column) -> None:
    for delay in (0.3, 1.2):
        serve = Serve(embedded_column.process_environment(port=0))
        time.sleep(delay)
        serve.process.send_signal(signal.SIGTERM)
        assert serve.process.wait(STOP_SECONDS) in {0, -signal.SIGTERM}
        serve.close()
        wait_until(lambda: ended(embedded_column), 5)


def test_a_port_that_is_taken(embedded_column: Column) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serve = Serve(embedded_column.process_environment(port=taken.getsockname()[1]))
        assert serve.process.wait(START_SECONDS) == 1
        serve.close()
    assert any("api ended with status 1" in line for line in serve.errors)
    assert ended(embedded_column)


def test_a_database_that_can_not_be_migrated(tmp_path: Path) -> None:
    (tmp_path / "fmx.sqlite3").write_bytes(b"this is no database" * 100)
    column = Column("embedded", {"FMX_DATA_DIR": str(tmp_path)})
    serve = Serve(column.process_environment(port=0))
    assert serve.process.wait(START_SECONDS) == 2
    serve.close()
    assert ended(column)
