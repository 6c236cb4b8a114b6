"""How long it takes until what was broken goes on: watched in the record."""

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from fmx_store.database import Database
from fmx_store.states import ACTIVE, ENDED, State
from fmx_store.tables import Run, table_of

LOOK_SECONDS = 0.1

_RUN = table_of(Run)


@dataclass
class Broken:
    """A run whose attempt was broken by something, and when."""

    what: str
    run_id: str
    attempt: int
    at: float
    is_due: bool = False


class Recovery:
    """Watches broken runs until they are due again, and until another attempt runs."""

    def __init__(self, db: Database) -> None:
        """Nothing is watched before `start`; the database should be one that stays reachable."""
        self._db = db
        self._lock = threading.Lock()
        self._broken: list[Broken] = []
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recovery", daemon=True)
        self.seconds: defaultdict[str, list[float]] = defaultdict(list[float])

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._stops.set()
        self._thread.join()

    def held_by(self, worker_pids: Iterable[int]) -> list[tuple[str, int]]:
        """Runs, and their attempts, that processes of a worker hold."""
        ends = tuple(f":{pid}" for pid in worker_pids)
        query = select(_RUN.c.id, _RUN.c.attempt, _RUN.c.worker).where(_RUN.c.state.in_(ACTIVE))
        with self._db.look() as connection:
            rows = connection.execute(query).all()
        return [(run_id, attempt) for run_id, attempt, worker in rows if worker.endswith(ends)]

    def next_due(self) -> list[tuple[str, int]]:
        """The run that is to be claimed next."""
        query = (
            select(_RUN.c.id, _RUN.c.attempt)
            .where(_RUN.c.state == State.QUEUED, _RUN.c.waiting_for == 0)
            .order_by(_RUN.c.priority.desc(), _RUN.c.job_id, _RUN.c.position)
            .limit(1)
        )
        with self._db.look() as connection:
            return [(run_id, attempt) for run_id, attempt in connection.execute(query)]

    def watch(self, what: str, runs: Iterable[tuple[str, int]]) -> None:
        """Some runs have just been broken."""
        now = time.monotonic()
        with self._lock:
            self._broken += [Broken(what, run_id, attempt, now) for run_id, attempt in runs]

    def _run(self) -> None:
        while not self._stops.wait(LOOK_SECONDS):
            with self._lock:
                broken = list(self._broken)
            if broken:
                self._look(broken)

    def _look(self, broken: list[Broken]) -> None:
        query = select(_RUN.c.id, _RUN.c.state, _RUN.c.attempt)
        try:
            with self._db.look() as connection:
                rows = connection.execute(query.where(_RUN.c.id.in_([b.run_id for b in broken])))
                found: dict[str, tuple[State, int]] = {r: (s, a) for r, s, a in rows}
        except SQLAlchemyError:
            return
        for each in broken:
            self._judge(each, *found.get(each.run_id, (State.CANCELLED, 0)))

    def _judge(self, each: Broken, state: State, attempt: int) -> None:
        seconds = time.monotonic() - each.at
        runs_again = attempt > each.attempt
        if state not in ACTIVE and not each.is_due:
            each.is_due = True
            self.seconds[f"{each.what}, until its run is free"].append(seconds)
        if runs_again:
            self.seconds[f"{each.what}, until its run is claimed again"].append(seconds)
        if runs_again or state in ENDED:
            with self._lock:
                self._broken.remove(each)

    def __str__(self) -> str:
        """Medians and worst cases."""
        lines = [
            f"{what}: {len(s)} times, median {statistics.median(s):.1f} s, worst {max(s):.1f} s"
            for what, s in sorted(self.seconds.items())
        ]
        return "\n".join(lines) or "nothing was broken"
