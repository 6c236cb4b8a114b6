"""How long until what was killed goes on: `python -m benchmarks.recovery [--rounds N]`.

A server and two workers with the default settings, on SQLite with the embedded broker and on
PostgreSQL with Redis. A training is killed, then a worker with all it has started, then the broker
is lost while a job is submitted; each time a client's view of the run tells when it goes on.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from benchmarks.postgres import run_postgres
from benchmarks.served import submit
from benchmarks.servers import ROOT, free_port, our_environment, wait_until_there

Seconds = dict[str, list[float]]

NUM_WORKERS = 2
BEGUN = 5  # epochs after which something is killed
PATIENCE_SECONDS = 60.0
LONG = {"dataset": "synthetic", "max_epochs": 5000, "early_stopping": None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures both columns and prints medians and worst cases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    show("SQLite, embedded broker", measure(None, rounds))
    with run_postgres() as url:
        show("PostgreSQL, Redis", measure(url, rounds))
    return 0


def show(column: str, found: Seconds) -> None:
    """A line for each figure."""
    print(column)
    for what, seconds in found.items():
        print(f"  {what:48} {statistics.median(seconds):6.2f} s, worst {max(seconds):6.2f} s")


def measure(database_url: str | None, rounds: int) -> Seconds:
    """What each kind of loss costs, in each round."""
    found: Seconds = {}
    with tempfile.TemporaryDirectory(prefix="fmx-recovery-") as name, ExitStack() as stack:
        house = House(Path(name), database_url)
        stack.callback(house.close)
        house.open()
        for _ in range(rounds):
            for lose in (lose_trainer, lose_worker, lose_broker):
                for what, seconds in lose(house).items():
                    found.setdefault(what, []).append(seconds)
    return found


class House:
    """A server, its workers and their broker, as processes."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        """Starts nothing yet; without a URL it is SQLite and the embedded broker."""
        self.folder, self._port, self._redis_port = folder, free_port(), free_port()
        self._environment = dict(our_environment(folder, self._port))
        self.has_redis = database_url is not None
        if database_url is not None:
            broker = f"redis://127.0.0.1:{self._redis_port}/0"
            self._environment |= {"FMX_DATABASE_URL": database_url, "FMX_BROKER_URL": broker}
        self._running: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._redis: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}",
            headers={"Connection": "close"},  # none is kept until the server closes it
            timeout=60,
        )

    def open(self) -> None:
        """Waits until the server answers and the workers have trained something."""
        command = [sys.executable, "-m", "migrations", "upgrade"]
        subprocess.run(command, cwd=ROOT, env=self._environment, check=True, capture_output=True)
        self.start_broker()
        server = self._start("api")
        wait_until_there(server, f"http://127.0.0.1:{self._port}/healthz")
        for _ in range(NUM_WORKERS):
            self.start_worker()
        with self.training():
            pass

    def _start(self, module: str) -> subprocess.Popen[bytes]:
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def start_worker(self) -> None:
        """One more, beside those that live."""
        self.workers.append(self._start("worker"))

    def start_broker(self) -> None:
        """Redis, where there is one; embedded messages are files that come by themselves."""
        if self.has_redis:
            command = ["redis-server", "--port", str(self._redis_port), "--save", ""]
            self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def lose_broker(self) -> None:
        """Kills Redis, or deletes all messages."""
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()
        else:
            shutil.rmtree(self.folder / "broker" / "messages", ignore_errors=True)

    def run_of(self, job_id: str) -> dict[str, object]:
        """A job's training as a client sees it."""
        answer = self.client.get(f"/v1/jobs/{job_id}/runs").raise_for_status()
        run = answer.json()["items"][0]
        return {**run, "epochs": run["progress"]["completed"]}

    @contextmanager
    def training(self) -> Generator[str]:
        """A job whose training has begun; cancelled at the end, until no process works on it."""
        job_id, _ = submit(self.client, spec=LONG)
        wait_until(lambda: int(str(self.run_of(job_id)["epochs"])) >= BEGUN)
        yield job_id
        self.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
        wait_until(lambda: self.run_of(job_id)["state"] == "cancelled")

    def find_trainer(self) -> int:
        """The process that trains, once those that will wait for something to train do so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(busy := self._find_busy()) != 1:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(busy)} trainers are busy")
        return busy[0]

    def _find_busy(self) -> list[int]:
        started = set[int]().union(*(descendants(worker.pid) for worker in self.workers))
        waiting = [pid for pid in started if "worker.trainer" in command_of(pid)]
        return [pid for pid in waiting if uses_processor(pid)]

    def close(self) -> None:
        """Kills everything."""
        self.client.close()
        for process in self._running:
            kill_all(process.pid)
            process.wait()
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()


def lose_trainer(house: House) -> dict[str, float]:
    """SIGKILL for the process that trains."""
    with house.training() as job_id:
        trainer = house.find_trainer()
        before = house.run_of(job_id)
        os.kill(trainer, signal.SIGKILL)
        return {f"trainer killed: {what}": s for what, s in watch(house, job_id, before).items()}


def lose_worker(house: House) -> dict[str, float]:
    """SIGKILL for the worker that holds the run, and for all that it has started."""
    with house.training() as job_id:
        trainer = house.find_trainer()
        [holder] = [each for each in house.workers if trainer in descendants(each.pid)]
        house.workers.remove(holder)
        before = house.run_of(job_id)
        kill_all(holder.pid)
        holder.wait()
        found = watch(house, job_id, before)
    house.start_worker()
    return {f"worker killed: {what}": s for what, s in found.items()}


def lose_broker(house: House) -> dict[str, float]:
    """The broker is gone while a job is submitted, and stays away until it runs."""
    house.lose_broker()
    began = time.monotonic()
    with house.training():
        seconds = time.monotonic() - began
        house.start_broker()
    return {f"broker gone: epoch {BEGUN} of a job submitted then": seconds}


def watch(house: House, job_id: str, before: dict[str, object]) -> dict[str, float]:
    """Until a run that was broken just now is claimed again, and beyond where it was."""
    began = time.monotonic()
    wait_until(lambda: house.run_of(job_id)["attempt"] != before["attempt"])
    claimed = time.monotonic() - began
    wait_until(lambda: int(str(house.run_of(job_id)["epochs"])) > int(str(before["epochs"])))
    return {"claimed again": claimed, "further than before": time.monotonic() - began}


def wait_until(look: Callable[[], bool]) -> None:
    """Raises TimeoutError after a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("nothing goes on")
        time.sleep(0.02)


def processes() -> Iterator[int]:
    """All processes of this machine."""
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def command_of(pid: int) -> str:
    """Its command line; empty where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def stat_of(pid: int) -> list[str]:
    """Its numbers after its name: state, parent, …; none where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return []


def uses_processor(pid: int) -> bool:
    """Whether it has worked in the last fifth of a second."""
    before = stat_of(pid)[11:13]
    time.sleep(0.2)
    after = stat_of(pid)[11:13]
    return bool(after) and sum(map(int, after)) - sum(map(int, before)) > 2


def descendants(pid: int) -> set[int]:
    """The processes that it has started, and those that these have."""
    parents = {each: int(stat[1]) for each in processes() if (stat := stat_of(each))}
    found = {pid}
    while more := {each for each, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def kill_all(pid: int) -> None:
    """A process and all it has started."""
    for each in (pid, *descendants(pid)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
