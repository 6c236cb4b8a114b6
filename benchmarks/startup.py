"""How soon the server is there, and how much memory it takes."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import Row, Unit, compare, interleave
from benchmarks.servers import free_port, our_command, our_environment, wait_until_there

ROOT = Path(__file__).parents[1]


def measure(rounds: int) -> list[Row]:
    """Importing the server beside importing torch, which it does without; its start; its memory."""

    def importing(module: str) -> Callable[[], object]:
        command = [sys.executable, "-c", f"import {module}"]
        return lambda: subprocess.run(command, check=True, cwd=ROOT)

    imports = interleave(importing("api.main"), importing("torch"), rounds)
    with tempfile.TemporaryDirectory() as folder:
        starts = [_start(Path(folder)) for _ in range(1 + rounds)][1:]
    return [
        compare("server_import", *imports),
        _row("server_start_seconds", "s", [seconds for seconds, _ in starts]),
        _row("server_rss_mb", "MB", [megabytes for _, megabytes in starts]),
    ]


def _start(data_dir: Path) -> tuple[float, float]:
    """Seconds until a new server answers, and the megabytes that it then has in memory."""
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        our_command(),
        cwd=ROOT,
        env=our_environment(data_dir, port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_there(process, f"http://127.0.0.1:{port}/healthz")
        return time.perf_counter() - began, _resident_bytes(process.pid) / 1e6
    finally:
        process.kill()
        process.wait()


def _resident_bytes(pid: int) -> int:
    """Physical memory of a process, as Linux counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell a process's memory")


def _row(name: str, unit: Unit, values: list[float]) -> Row:
    median = statistics.median(values)
    spread = (min(values), max(values))
    return Row(name=name, value=median, unit=unit, spread=spread, ours=median)
