"""Everything at once: workers, cancels, retries, deletes, reapers, announcers, collectors."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from record_kit import CPU, FAILED, check_record, epoch, submit, submit_plan, together
from sqlmodel import select

from fmx_store import artifacts, claims, jobs, maintenance
from fmx_store.blobs import FolderStore
from fmx_store.claims import Claim, Success
from fmx_store.database import Database
from fmx_store.errors import ConflictError, LeaseLostError, NotFoundError
from fmx_store.history import check_history
from fmx_store.states import ENDED, Role
from fmx_store.tables import Job

SECONDS = 4.0
EXPECTED = (LeaseLostError, ConflictError, NotFoundError)
NEEDS = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ()}

Act = Callable[[random.Random], None]


class Storm:
    """The actors; each notes what it did and what it was refused."""

    def __init__(self, db: Database, blobs: FolderStore, folder: Path) -> None:
        self.db, self.blobs, self.folder = db, blobs, folder
        self.done: Counter[str] = Counter()

    def job_ids(self) -> list[str]:
        with self.db.read() as session:
            return list(session.exec(select(Job.id)))

    def submit(self, rng: random.Random) -> None:
        if len(self.job_ids()) < 6:
            if rng.random() < 0.5:
                submit_plan(self.db, NEEDS, priority=rng.randrange(10))
            else:
                submit(self.db, seeds=4, spec={"seeds": [1, 2, 3, 4]}, reuse=rng.random() < 0.5)
        time.sleep(0.02)

    def work(self, rng: random.Random) -> None:
        claimed = claims.claim(self.db, "w", CPU)
        if claimed is None:
            time.sleep(0.005)
            return
        self.done["claim"] += 1
        for number in range(1, rng.randrange(1, 4)):
            epochs = [epoch(number)] if claimed.run.role is Role.TRAINING else []
            claims.record_progress(self.db, claimed.lease, epochs, phase="at work")
            claims.beat(self.db, claimed.lease)
        self.end(claimed, rng)

    def end(self, claimed: Claim, rng: random.Random) -> None:
        lease, how = claimed.lease, rng.random()
        if how < 0.15:
            claims.hand_back(self.db, lease)
        elif how < 0.3:
            claims.report_crash(self.db, lease, "killed", 3)
        elif how < 0.4:
            claims.finish(self.db, lease, FAILED)
        elif how < 0.5:
            return  # it falls silent
        else:
            path = self.folder / f"{threading.get_ident()}.txt"
            path.write_text(f"one of a few contents: {rng.randrange(4)}")
            model = claimed.run.role is Role.TRAINING and rng.random() < 0.5
            name = f"{claimed.run.name}/{'model.onnx' if model else 'x'}"
            staged = artifacts.stage(self.db, self.blobs, lease, {name: path})
            claims.finish(self.db, lease, Success(files=staged, model=model))
            self.done["success"] += 1

    def meddle(self, rng: random.Random) -> None:
        ids = self.job_ids()
        if ids:
            act = rng.choice([jobs.cancel, jobs.retry, jobs.retry, jobs.remove])
            found = act(self.db, rng.choice(ids))
            self.done[act.__name__] += 1
            if isinstance(found, set):
                self.done["collected"] += artifacts.collect(self.db, self.blobs, found)
        time.sleep(0.03)

    def reap(self, rng: random.Random) -> None:
        for seen in claims.active(self.db):
            if rng.random() < 0.1:
                self.done["taken back"] += claims.take_back(self.db, seen, 3)
        maintenance.find_waiting(self.db, 0.01)
        time.sleep(0.01)


def test_all_at_once_breaks_nothing(db: Database, blobs: FolderStore, tmp_path: Path) -> None:
    storm = Storm(db, blobs, tmp_path)
    stop = threading.Event()
    errors: list[BaseException] = []

    def repeat(act: Act, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - a schedule
        while not stop.is_set() and not errors:
            try:
                act(rng)
            except EXPECTED as error:
                storm.done[type(error).__name__] += 1
            except Exception as error:  # noqa: BLE001 - told below
                errors.append(error)

    actors: list[Act] = [*[storm.work] * 4, storm.submit, storm.meddle, storm.meddle, storm.reap]
    threading.Timer(SECONDS, stop.set).start()
    together(*[lambda a=act, n=number: repeat(a, n) for number, act in enumerate(actors)])
    if errors:
        raise errors[0]
    check_record(db)
    for what in ("claim", "success", "cancel", "retry", "remove", "taken back", "LeaseLostError"):
        assert storm.done[what] > 0, storm.done
    end_all(db)
    assert check_history(db, blobs) == []


def end_all(db: Database) -> None:
    """What is left goes to its end: no run is stuck."""
    for seen in claims.active(db):
        assert claims.take_back(db, seen, 100)
    while (claimed := claims.claim(db, "w", CPU)) is not None:
        claims.finish(db, claimed.lease, Success())
    check_record(db)
    assert {job.state for job in jobs.list_jobs(db).items} <= ENDED
