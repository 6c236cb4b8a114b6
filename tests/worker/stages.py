"""A worker's view of a record, and children that play what they are told."""

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from workers import DOUBLES, Record, processes_of, wait_until

from fmx_store import claims, jobs
from fmx_store.artifacts import list_artifacts
from fmx_store.blobs import open_store
from fmx_store.claims import Claim
from fmx_store.metrics import read_metrics
from fmx_store.tables import Run
from worker.context import Context
from worker.supervisor import supervise
from worker.trainers import Trainers


class Stage:
    """A record, a worker's view of it, and children that play what they are told."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.stopping = threading.Event()
        self.context = Context(
            settings=record.settings,
            db=record.db,
            blobs=open_store(record.settings),
            doorbell=record.doorbell,
            name="tester",
            hardware="cpu",
            is_stopping=self.stopping.is_set,
            trainers=Trainers(record.settings, keeps=False),
        )

    def claim(self, **request: Any) -> Claim:
        """A job's only training, claimed."""
        self.record.submit(**request)
        return self.claim_again()

    def claim_again(self) -> Claim:
        claim = claims.claim(self.record.db, "tester", ("auto", "cpu"))
        assert claim is not None
        return claim

    def play(self, play: str, claim: Claim | None = None) -> Run:
        """Supervises a child to its end; answers the run as it is then."""
        claim = claim or self.claim()
        self.supervise(play, claim)
        return self.run_of(claim)

    def supervise(self, play: str, claim: Claim) -> None:
        """Supervises a child to its end, of which nothing may be left."""
        supervise(self.context, [claim], self.playing_trainers(play))
        assert processes_of(self.record.column.data_dir) == []
        scratch = self.record.settings.scratch_dir / f"{claim.run.id}-{claim.run.attempt}"
        assert not scratch.exists()

    def playing_trainers(self, play: str) -> Trainers:
        """Trainers that play."""
        return self.trainers(sys.executable, str(DOUBLES / "child.py"), play)

    def trainers(self, *command: str) -> Trainers:
        """Trainers of another program, each for one order."""
        return Trainers(self.record.settings, command, keeps=False)

    def run_of(self, claim: Claim) -> Run:
        return jobs.require_run(self.record.db, claim.run.id)

    def epochs(self, run: Run) -> list[int]:
        return [m.epoch for m in read_metrics(self.record.db, run.id)]

    def files(self, run: Run) -> dict[str, str]:
        """The run's artifacts and what is in them."""
        files: dict[str, str] = {}
        for artifact in list_artifacts(self.record.db, run.job_id):
            with self.context.blobs.open(artifact.sha256) as file:
                files[artifact.path] = file.read().decode()
        return files

    @contextmanager
    def playing(self, play: str, claim: Claim) -> Generator[None]:
        """Supervises in a thread, from the first epoch; waits for the end."""
        thread = threading.Thread(target=self.supervise, args=(play, claim))
        thread.start()
        try:
            wait_until(lambda: self.run_of(claim).epochs_done > 0, 10, "the first epoch")
            yield
        finally:
            thread.join()
