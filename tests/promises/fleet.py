"""A whole fmx of real processes, which tests kill, freeze and cut off: a server and workers.

Workers train by doubles unless they are told otherwise. Whatever the server answers is noted, since
whatever happens to it, no answer may be an internal error.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
from services import ROOT, Column, free_port
from workers import DOUBLES, GOOD, QUICK, Worker, processes_of

from fmx_store.blobs import open_store
from fmx_store.database import Database
from fmx_store.history import check_history

T = TypeVar("T")

START_SECONDS = 40.0
MIN_FREE_BYTES = 100_000  # some disks here are small
ACCEPTED = 202
ENDED = {"succeeded", "failed", "cancelled"}
ALLOWED_ERRORS = {503, 507}  # of the server's own


class Fleet:
    """Processes on one column, by the roles they have."""

    def __init__(self, column: Column, **settings: object) -> None:
        """Nothing runs before it is started."""
        self.column = column
        self.data_dir = column.data_dir
        chosen = {**QUICK, "min_free_bytes": MIN_FREE_BYTES, **settings}
        self.settings = column.settings(**chosen)
        self._values: dict[str, object] = {**chosen, "port": free_port()}
        self.workers: list[Worker] = []
        self.server: Worker | None = None
        self.answers: Counter[int] = Counter()
        self.accepted: list[str] = []
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._values['port']}",
            timeout=60,
            event_hooks={"response": [self._note]},
        )
        self.db = Database(self.settings.database)

    def _note(self, answer: httpx.Response) -> None:
        self.answers[answer.status_code] += 1

    # Processes

    def start_server(self) -> Worker:
        """A server that answers; on the port that each one before it had."""
        self.server = self._start("server", ("-m", "api"), {})
        self.wait_until(self._is_up, START_SECONDS, "the server")
        return self.server

    def _is_up(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get("/healthz").is_success
        return False

    def start_worker(
        self,
        command: Sequence[str] = ("-m", "worker"),
        *,
        doubles: bool = True,
        wait: bool = True,
        **settings: object,
    ) -> Worker:
        """A worker that takes messages, unless there is nobody to wait for."""
        environment = {"PYTHONPATH": str(DOUBLES)} if doubles else {}
        worker = self._start("worker", command, environment, **settings)
        self.workers.append(worker)
        if wait:
            self.wait_until(lambda: " ready." in worker.text(), START_SECONDS, "the worker")
        return worker

    def _start(
        self, role: str, command: Sequence[str], more: dict[str, str], **settings: object
    ) -> Worker:
        number = len(list(self.data_dir.glob(f"{role}-*.log")))
        log = self.data_dir / f"{role}-{number}.log"
        environment = self.column.process_environment(**{**self._values, **settings})
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**environment, **more},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Worker(process, log, self.data_dir)

    def kill_server(self) -> None:
        """SIGKILL."""
        if self.server is not None:
            kill_group(self.server)
            self.server = None

    def kill_workers(self) -> None:
        """SIGKILL for the main processes and their pools; trainers notice by themselves."""
        for worker in self.workers:
            kill_group(worker)
        self.workers.clear()

    def trainers(self) -> list[int]:
        """Processes that train."""
        return [pid for worker in self.workers for pid in worker.trainers()]

    def close(self) -> None:
        """Ends all that was started, and what that has started."""
        self.kill_server()
        self.kill_workers()
        for pid in set(processes_of(self.data_dir)) - {os.getpid()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.client.close()
        self.db.close()

    # Requests

    def submit(self, *, ml: int = GOOD, epochs: int = 3, seeds: int = 1, **request: Any) -> str:
        """A job's id, from a 202."""
        answer = self.post(ml=ml, epochs=epochs, seeds=seeds, **request)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return answer.json()["id"]

    def post(
        self, *, ml: int = GOOD, epochs: int = 3, seeds: int = 1, **request: Any
    ) -> httpx.Response:
        """The answer to a job of q1 that the doubles play."""
        spec = {
            "dataset": "synthetic",
            "split_seed": ml,
            "max_epochs": epochs,
            "seeds": list(range(seeds)),
            **request.pop("spec", {}),
        }
        answer = self.client.post("/v1/jobs", json={"kind": "q1", "spec": spec, **request})
        if answer.status_code == ACCEPTED:
            self.accepted.append(answer.json()["id"])
        return answer

    def get(self, path: str, **parameters: Any) -> Any:
        """A body."""
        return self.client.get(path, params=parameters).raise_for_status().json()

    def job(self, job_id: str) -> dict[str, Any]:
        """A job's body."""
        return self.get(f"/v1/jobs/{job_id}")

    def runs(self, job_id: str) -> list[dict[str, Any]]:
        """Its trainings."""
        return self.get(f"/v1/jobs/{job_id}/runs", limit=200)["items"]

    def epochs(self, job_id: str) -> list[list[int]]:
        """The epochs that each training has."""
        return [
            [row[0] for row in self.get(f"/v1/runs/{run['id']}/metrics")["rows"]]
            for run in self.runs(job_id)
        ]

    # Waiting

    def wait_until(self, look: Callable[[], T | None], seconds: float, what: str) -> T:
        """What is found at last."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come in {seconds} s:\n{self.told()}")
            time.sleep(0.05)
        return found

    def told(self) -> str:
        """The ends of all logs."""
        logs = sorted(self.data_dir.glob("*-*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def wait_for_end(self, job_id: str, seconds: float = 60) -> dict[str, Any]:
        """The job when it has ended."""

        def ended() -> dict[str, Any] | None:
            body = self.job(job_id)
            return body if body["state"] in ENDED else None

        return self.wait_until(ended, seconds, f"the end of {job_id}")

    def wait_for_all(self, seconds: float = 60) -> list[str]:
        """The states of all accepted jobs when they have ended."""
        deadline = time.monotonic() + seconds
        return [
            self.wait_for_end(job_id, max(1.0, deadline - time.monotonic()))["state"]
            for job_id in self.accepted
        ]

    def wait_for_epochs(self, job_id: str, seconds: float = 40) -> None:
        """A worker holds one of its runs, and has written epochs of it."""
        self.wait_until(
            lambda: self.job(job_id)["progress"]["completed"] > 0, seconds, f"epochs of {job_id}"
        )

    # Judging

    def check(self) -> None:
        """Nothing contradicts what has happened, and no answer was an internal error."""
        found = check_history(self.db, open_store(self.settings), self.accepted)
        assert [str(violation) for violation in found] == [], self.told()
        errors = {status for status in self.answers if status >= httpx.codes.INTERNAL_SERVER_ERROR}
        assert errors <= ALLOWED_ERRORS, self.told()


def kill_group(worker: Worker) -> None:
    """SIGKILL for a process and those of its group."""
    with suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


@contextmanager
def running_fleet(column: Column, **settings: object) -> Generator[Fleet]:
    """A fleet for a while; nothing of it is left afterwards."""
    fleet = Fleet(column, **settings)
    try:
        yield fleet
    finally:
        fleet.close()


def queued_messages(data_dir: Path) -> list[Path]:
    """The embedded broker's messages."""
    return sorted((data_dir / "broker" / "messages").glob("*.msg"))
