"""A record with a doorbell, and real worker processes on it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from services import ROOT, Column

from fmx_ml.requests import parse_request
from fmx_store import jobs
from fmx_store.broker import Doorbell, make_celery
from fmx_store.database import Database
from fmx_store.settings import Settings
from fmx_store.states import ENDED, State
from fmx_store.tables import Job, Run

T = TypeVar("T")

DOUBLES = Path(__file__).resolve().parent / "doubles"
# A split_seed tells the double what to play.
GOOD, CRASHES_ONCE, CRASHES, DEAF, NOT_A_NUMBER, ESCAPES, FAILS_ONCE, DIES_LATE = range(8)
LINGERS_ONCE = 8

# Faster than the defaults, so that tests need not wait.
QUICK: dict[str, Any] = {
    "worker_device": "cpu",
    "heartbeat_seconds": 0.3,
    "lease_seconds": 2.0,
    "dispatch_seconds": 1.0,
    "stop_seconds": 1.0,
    "publish_timeout_seconds": 0.5,
}


@dataclass(frozen=True)
class Record:
    """A migrated database, its broker, and what a server does with them."""

    column: Column
    settings: Settings
    db: Database
    doorbell: Doorbell

    def submit(self, *, ml: int = GOOD, epochs: int = 3, seeds: int = 1, **request: Any) -> str:
        """Submits a job of q1 and rings; answers its id."""
        spec = {
            "dataset": "synthetic",
            "split_seed": ml,
            "max_epochs": epochs,
            "seeds": list(range(seeds)),
            **request.pop("spec", {}),
        }
        data = {"kind": "q1", "spec": spec, **request}
        return jobs.submit(self.db, parse_request(data), 100).job.id

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        return jobs.require_job(self.db, job_id)

    def runs(self, job_id: str) -> list[Run]:
        """Its trainings and, last, its collation."""
        return jobs.list_runs(self.db, job_id)

    def run(self, job_id: str) -> Run:
        """Its first training."""
        return self.runs(job_id)[0]

    def wait_for_end(self, job_id: str, timeout: float = 20) -> Job:
        """The job when it has ended."""

        def get_ended() -> Job | None:
            job = self.job(job_id)
            return job if job.state in ENDED else None

        return wait_until(get_ended, timeout, f"the end of {job_id}")

    def wait_for_epochs(self, job_id: str, epochs: int = 1, timeout: float = 20) -> Run:
        """Its first training, when a worker holds it and has written some epochs."""

        def get_running() -> Run | None:
            run = self.run(job_id)
            return run if run.state is State.RUNNING and run.epochs_done >= epochs else None

        return wait_until(get_running, timeout, f"epoch {epochs} of {job_id}")


@contextmanager
def open_record(column: Column, **settings: Any) -> Generator[Record]:
    """The record of a column, with quick settings."""
    chosen = column.settings(**{**QUICK, **settings})
    doorbell = Doorbell(make_celery(chosen))
    db = Database(chosen.database, on_commit=doorbell.ring)
    try:
        yield Record(column, chosen, db, doorbell)
    finally:
        doorbell.close()
        db.close()


class Worker:
    """A worker's main process and all that it has started."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, data_dir: Path) -> None:
        self.process, self.log, self._data_dir = process, log, data_dir

    def pool(self) -> list[int]:
        """Its processes that supervise."""
        return [pid for pid in self.descendants() if "worker.trainer" not in command_of(pid)]

    def trainers(self) -> list[int]:
        """Its processes that have an order: their output goes to a log in the scratch folder."""
        scratch = self._data_dir / "scratch"
        return [pid for pid in self.descendants() if output_of(pid).is_relative_to(scratch)]

    def idle_trainers(self) -> list[int]:
        """Its processes that wait for an order."""
        trainers = (pid for pid in self.descendants() if "worker.trainer" in command_of(pid))
        return sorted({*trainers} - {*self.trainers()})

    def descendants(self) -> list[int]:
        """Every process below the main one."""
        return sorted(_descendants(self.process.pid))

    def send(self, how: signal.Signals) -> None:
        """Signals the main process alone."""
        self.process.send_signal(how)

    def send_to_group(self, how: signal.Signals) -> None:
        """Signals the main process and the pool, as a terminal does with Ctrl-C."""
        os.killpg(self.process.pid, how)

    def wait(self, timeout: float = 10) -> float:
        """Waits for the main process's end; answers how long that took."""
        began = time.monotonic()
        self.process.wait(timeout)
        return time.monotonic() - began

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")


@contextmanager
def run_worker(
    record: Record,
    *,
    command: Sequence[str] = ("-m", "worker"),
    doubles: bool = True,
    wait: bool = True,
    **settings: Any,
) -> Generator[Worker]:
    """A real worker, ready; none of its processes outlives this."""
    environment = record.column.process_environment(**{**QUICK, **settings})
    if doubles:
        environment["PYTHONPATH"] = os.pathsep.join([str(DOUBLES), str(ROOT)])
    number = len(list(record.column.data_dir.glob("worker-*.log")))
    log = record.column.data_dir / f"worker-{number}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    worker = Worker(process, log, record.column.data_dir)
    try:
        if wait:
            wait_until(lambda: " ready." in worker.text(), 20, "the worker", worker)
        yield worker
    finally:
        _end(worker, record.column.data_dir)


def _end(worker: Worker, data_dir: Path) -> None:
    """Kills the main process and the pool, which is faster than an end in good order."""
    for pid in processes_of(data_dir):
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == worker.process.pid:
                os.kill(pid, signal.SIGKILL)
    worker.process.wait()


def is_writable(database: Path) -> bool:
    """Whether nobody holds the one lock that an SQLite database has."""
    connection = sqlite3.connect(database, 0.2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def wait_until(
    condition: Callable[[], T | None], timeout: float, what: str, worker: Worker | None = None
) -> T:
    """What the condition gives, as soon as that is true; fails after the timeout."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if worker is not None and worker.process.poll() is not None:
            raise AssertionError(f"the worker has ended:\n{worker.text()}")
        if time.monotonic() > deadline:
            said = f":\n{worker.text()}" if worker else ""
            raise AssertionError(f"{what} did not come in {timeout} s{said}")
        time.sleep(0.02)
    return found


def processes_of(data_dir: Path) -> list[int]:
    """Every process that was started with this data folder: workers, pools, trainers, theirs."""
    wanted = f"FMX_DATA_DIR={data_dir}".encode()
    return [pid for pid in _all_processes() if wanted in _read(pid, "environ").split(b"\0")]


def command_of(pid: int) -> str:
    """A process's command line."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")


def output_of(pid: int) -> Path:
    """The file that a process prints to."""
    try:
        return Path(f"/proc/{pid}/fd/1").readlink()
    except OSError:
        return Path()


def has_loaded(pid: int, library: str) -> bool:
    """Whether a shared library is in a process's memory."""
    return library.encode() in _read(pid, "maps")


def _descendants(pid: int) -> set[int]:
    parents = {child: _parent(child) for child in _all_processes()}
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _all_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
