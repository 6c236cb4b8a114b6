"""Load on a server, by wrk: one body over some connections for a few seconds."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 3
_SCRIPT = Path(__file__).with_name("load.lua")
_TOLD = re.compile(r"^LOAD (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """What is posted where."""

    url: str
    body: Path
    connections: int
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Load:
    """What a server made of it."""

    per_second: float
    p99_seconds: float


def has_wrk() -> bool:
    """Whether the program that makes the load is installed."""
    return shutil.which("wrk") is not None


def put_load(target: Target) -> Load:
    """Asks for a few seconds. Raises RuntimeError where an answer is missing or no success."""
    headers = "\n".join(f"{name}: {value}" for name, value in target.headers.items())
    done = subprocess.run(
        ["wrk", "-t1", f"-c{target.connections}", f"-d{SECONDS}s", "-s", _SCRIPT, target.url],
        env={**os.environ, "BODY": str(target.body), "HEADERS": headers},
        capture_output=True,
        text=True,
        check=True,
    )
    found = _TOLD.search(done.stdout)
    if found is None or int(found[4]) > 0 or int(found[1]) == 0:
        raise RuntimeError(f"{target.url}: {done.stdout}")
    num_requests, microseconds, p99_microseconds = (int(found[n]) for n in (1, 2, 3))
    return Load(num_requests / microseconds * 1e6, p99_microseconds / 1e6)
