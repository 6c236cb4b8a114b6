"""Clients of a server to which everything happens: they repeat what was not answered."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
from fleet import ACCEPTED, Fleet
from workers import CRASHES, CRASHES_ONCE, DEAF, ESCAPES, FAILS_ONCE, GOOD, NOT_A_NUMBER

MOST_JOBS = 40  # that have not ended; more only wait
PATIENCE_SECONDS = 120.0  # for one answer, through any number of tries
RETRY_SECONDS = 0.5
PAUSE_SECONDS = 0.25

Kind = tuple[str, dict[str, Any]]
KINDS: list[Kind] = [
    ("q1", {"seeds": [0]}),
    ("q1", {"seeds": [0, 1, 2, 3]}),
    ("q2", {"seeds": [0]}),
    ("q3", {}),
    ("q5", {"fractions": [50], "starts": ["frozen"]}),
]
PLAYS = [GOOD, CRASHES_ONCE, CRASHES, DEAF, FAILS_ONCE, NOT_A_NUMBER, ESCAPES]
WEIGHTS = [70, 8, 4, 4, 6, 4, 4]

Act = Callable[["Clients"], None]


class Clients:
    """Submits, cancels, retries and deletes; remembers what it was promised."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        """Nothing is asked before `start`."""
        self._fleet = fleet
        self._chance = random.Random(seed)  # noqa: S311 - a schedule
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clients", daemon=True)
        self.error: BaseException | None = None
        self.done: Counter[str] = Counter()
        self.jobs: list[str] = []
        self.deaf: set[str] = set()
        self.cancelled: set[str] = set()
        self.deleted: set[str] = set()

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the present request. Raises what went wrong."""
        self._stops.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        acts = [self._submit] * 12 + [self._cancel] * 3 + [self._retry] * 3 + [self._delete] * 2
        try:
            while not self._stops.wait(self._chance.uniform(0, 2 * PAUSE_SECONDS)):
                self._chance.choice(acts)()
        except BaseException as error:  # noqa: BLE001 - raised by `stop`
            self.error = error

    def _submit(self) -> None:
        if len(self.jobs) >= MOST_JOBS and self._num_going() >= MOST_JOBS:
            return
        kind, spec = self._chance.choice(KINDS)
        play = self._chance.choices(PLAYS, WEIGHTS)[0]
        common = {"dataset": "synthetic", "split_seed": play}
        common["max_epochs"] = self._chance.randint(1, 30)
        request = {
            "kind": kind,
            "preset": "quick",
            "spec": {**common, **spec},
            "priority": self._chance.randrange(10),
        }
        answer = self.ask(
            "POST", "/v1/jobs", json=request, headers={"Idempotency-Key": uuid.uuid4().hex}
        )
        assert answer.status_code == ACCEPTED, answer.text
        job_id: str = answer.json()["id"]
        self.done["submitted"] += 1
        self.jobs.append(job_id)
        self._fleet.accepted.append(job_id)
        if play == DEAF:
            self.deaf.add(job_id)

    def _num_going(self) -> int:
        answer = self.ask("GET", "/v1/jobs", params={"limit": 200})
        states = [item["state"] for item in answer.json()["items"]]
        return sum(state in {"queued", "running", "cancelling"} for state in states)

    def _pick(self) -> str | None:
        return self._chance.choice(self.jobs) if self.jobs else None

    def _cancel(self) -> None:
        if job_id := self._pick():
            self.cancel(job_id)

    def cancel(self, job_id: str) -> None:
        """Cancels a job, unless it has ended."""
        answer = self.ask("POST", f"/v1/jobs/{job_id}/cancel")
        if answer.status_code == ACCEPTED:
            self.done["cancelled"] += 1
            self.cancelled.add(job_id)

    def _retry(self) -> None:
        if job_id := self._pick():
            answer = self.ask("POST", f"/v1/jobs/{job_id}/retry")
            if answer.status_code == ACCEPTED:
                self.done["retried"] += 1
            # What was asked before a lost answer may have retried it too.
            self.cancelled.discard(job_id)

    def _delete(self) -> None:
        if job_id := self._pick():
            answer = self.ask("DELETE", f"/v1/jobs/{job_id}")
            if answer.status_code in {httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND}:
                self.done["deleted"] += 1
                self.deleted.add(job_id)
                self.jobs.remove(job_id)

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer, as soon as there is one; a server that is away or busy is asked again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = self._fleet.client.request(method, path, **request)
            except httpx.TransportError as error:
                told = repr(error)
            else:
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return answer
                told = answer.text
            assert time.monotonic() < deadline, f"{method} {path}: {told}"
            self.done["asked again"] += 1
            time.sleep(RETRY_SECONDS)
