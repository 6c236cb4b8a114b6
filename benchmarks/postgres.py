"""A PostgreSQL to measure with: as durable as one that is kept, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import OperationalError

from benchmarks.servers import free_port

START_SECONDS = 20.0
_OPTIONS = (
    "listen_addresses=127.0.0.1",
    "max_connections=300",
    "shared_buffers=256MB",
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track=all",
)


@contextmanager
def run_postgres() -> Generator[str]:
    """The URL of an empty database. Raises FileNotFoundError where there is no PostgreSQL."""
    binaries = _find_binaries()
    user = "postgres" if os.getuid() == 0 else None  # root may not run it
    port = free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    with tempfile.TemporaryDirectory(prefix="fmx-postgres-") as name:
        folder = Path(name)
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = folder / "data"
        setup = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--locale=C"]
        subprocess.run(
            [*setup, "-E", "UTF8"], cwd=folder, user=user, check=True, capture_output=True
        )
        command = [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder]
        command += [text for option in _OPTIONS for text in ("-c", option)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, user=user, stdout=log, stderr=log)
        try:
            _wait(url)
            yield url
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def cpu_seconds(url: str) -> float:
    """What a server that runs here has used of processors, by its port."""
    port = str(make_url(url).port).encode()
    server = next(
        pid
        for pid, command in _commands()
        if command[0].endswith(b"/postgres") and command[3:5] == [b"-p", port]
    )
    used = sum(_ticks(server, 13, 14))  # of sessions that have ended
    for pid, command in _commands():
        if command[0].startswith(b"postgres:") and _ticks(pid, 1)[0] == server:
            used += sum(_ticks(pid, 11, 12))
    return used / os.sysconf("SC_CLK_TCK")


def _commands() -> Iterator[tuple[int, list[bytes]]]:
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit():
                yield int(process.name), (process / "cmdline").read_bytes().split(b"\0")


def _ticks(pid: int, *fields: int) -> list[int]:
    """Numbers of a process's state, counted from after its name; zeros where it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0] * len(fields)
    return [int(state[field]) for field in fields]


def _find_binaries() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("postgres", path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        raise FileNotFoundError("postgres is not installed")
    return Path(found).resolve().parent


def _wait(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            engine.dispose()
            return
