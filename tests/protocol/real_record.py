"""The functions of fmx_store behind the model's interface, alone and side by side with it."""

import uuid
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from unittest import mock

from record_kit import CPU, FAILED, add_all, epoch, request
from record_model import COLLATION, MAX_CRASHES, Beat, ModelRecord, Place, Plan, Record, Token

from fmx_ml import requests
from fmx_ml.requests import JobRequest
from fmx_ml.trainings import PlannedRun
from fmx_store import artifacts, claims, history, jobs, maintenance
from fmx_store.claims import Heartbeat, Lease, StagedFile, Success
from fmx_store.database import Database, Ring
from fmx_store.errors import ConflictError, LeaseLostError, NotFoundError
from fmx_store.history_rules import JobHistory
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.states import State
from fmx_store.tables import Blob

T = TypeVar("T")

SHA = "cd" * 32
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
# Who asks for the present moment, which is the world's.
CLOCKS = ("lifecycle", "maintenance", "new_jobs")


def prepare(db: Database) -> None:
    """The one file that every run publishes."""
    add_all(db, [Blob(sha256=SHA, size_bytes=3)])


class RealRecord:
    """fmx_store on a database in which other schedules have left their jobs."""

    def __init__(self, db: Database) -> None:
        """Knows no job yet."""
        self._db = db
        db.on_commit = self._note_rings
        self._job_ids: dict[str, str] = {}
        self._requests: dict[str, JobRequest] = {}
        self._run_ids: dict[Place, str] = {}
        self._places: dict[str, Place] = {}
        self.rings: list[Place] = []
        self._now = 0.0
        self._name = uuid.uuid4().hex  # of this record's submissions

    def set_time(self, now: float) -> None:
        self._now = now

    @contextmanager
    def at_its_time(self) -> Generator[None]:
        """The world's clock is what fmx_store sees."""
        with ExitStack() as stack:
            for module in CLOCKS:
                stack.enter_context(mock.patch(f"fmx_store.{module}.now", self._get_now))
            yield

    def _get_now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._now)

    def _note_rings(self, rings: list[Ring]) -> None:
        self._learn_runs()
        self.rings += [self._places[run_id] for run_id, _ in rings]

    def _learn_runs(self) -> None:
        for job, job_id in self._job_ids.items():
            if Place(job, COLLATION) not in self._run_ids:
                for run in jobs.list_runs(self._db, job_id):
                    place = Place(job, run.name)
                    self._run_ids[place], self._places[run.id] = run.id, place

    def submit(self, job: str, plan: Plan) -> None:
        asked = self._requests.setdefault(job, request(seeds=len(plan)))
        planned = tuple(
            PlannedRun(name=name, training=p.training, needs=tuple(needed))
            for (name, needed), p in zip(plan.items(), requests.plan(asked), strict=True)
        )
        rings: list[Ring] = []
        self._db.on_commit = rings.extend
        with mock.patch("fmx_store.submissions.plan", return_value=planned):
            key = IdempotencyKey(f"{self._name}-{job}", "0" * 64)
            self._job_ids[job] = jobs.submit(self._db, asked, 1000, key).job.id
        self._db.on_commit = self._note_rings
        self._note_rings(rings)

    def complete_submission(self, job: str) -> None:
        """It was one transaction."""

    def cancel(self, job: str) -> bool:
        return self._is_allowed(jobs.cancel, job)

    def retry(self, job: str) -> bool:
        return self._is_allowed(jobs.retry, job)

    def remove(self, job: str) -> bool:
        return self._is_allowed(jobs.remove, job)

    def _is_allowed(self, act: Callable[[Database, str], object], job: str) -> bool:
        try:
            act(self._db, self._job_ids[job])
        except (ConflictError, NotFoundError):
            return False
        return True

    def find_due(self) -> Place | None:
        with self._db.read() as session:
            due = claims._first_due(session, CPU)
        return self._places[due[0]] if due else None

    def claim(self, worker: str, seen: Place) -> Token | None:  # noqa: ARG002 - it looks itself
        claimed = claims.claim(self._db, worker, CPU)
        if claimed is None:
            return None
        return Token(self._places[claimed.run.id], claimed.lease.attempt)

    def _lease(self, token: Token) -> Lease:
        run_id, job_id = self._run_ids[token.place], self._job_ids[token.place.job]
        return Lease(run_id, job_id, token.attempt)

    def beat(self, token: Token) -> State | None:
        return _unless_lost(lambda: claims.beat(self._db, self._lease(token)))

    def progress(self, token: Token, epochs: Sequence[int]) -> State | None:
        written = [epoch(number) for number in epochs]
        lease = self._lease(token)
        return _unless_lost(lambda: claims.record_progress(self._db, lease, written))

    def checkpoint(self, token: Token, epoch: int) -> bool:
        raise NotImplementedError

    def newest_checkpoint(self, place: Place) -> int:  # noqa: ARG002 - there is none
        return 0

    def stage(self, token: Token) -> bool:
        pin = artifacts._pin
        return _unless_lost(lambda: pin(self._db, self._lease(token), {SHA: 3}) or True) is True

    def finish(self, token: Token, *, well: bool) -> State | None:
        name = token.place.name
        has_model = well and name != COLLATION
        path = f"{name}/{'model.onnx' if has_model else 'log.txt'}"
        files = [StagedFile(path, SHA, 3, "text/plain")]
        outcome = Success(files=files, model=has_model) if well else replace(FAILED, files=files)
        return _unless_lost(lambda: claims.finish(self._db, self._lease(token), outcome))

    def complete_finish(self, token: Token) -> None:
        """It was one transaction."""

    def hand_back(self, token: Token) -> State | None:
        return _unless_lost(lambda: claims.hand_back(self._db, self._lease(token)))

    def report_crash(self, token: Token) -> State | None:
        report = claims.report_crash
        return _unless_lost(lambda: report(self._db, self._lease(token), "killed", MAX_CRASHES))

    def active(self) -> list[Beat]:
        beats = claims.active(self._db)
        return [Beat(self._places[b.run_id], b.attempt, b.beat) for b in beats]

    def take_back(self, seen: Beat) -> bool:
        lease = self._lease(Token(seen.place, seen.attempt))
        known = Heartbeat(lease.run_id, lease.job_id, seen.attempt, seen.beat)
        return claims.take_back(self._db, known, MAX_CRASHES)

    def try_writing(self) -> None:
        claims.try_writing(self._db)

    def find_waiting(self, older_than: float, now: float) -> list[Place]:  # noqa: ARG002 - patched
        rings = maintenance.find_waiting(self._db, older_than)
        return [self._places[run_id] for run_id, _ in rings]

    def state_of(self, job: str) -> State | None:
        try:
            return jobs.require_job(self._db, self._job_ids[job]).state
        except NotFoundError:
            return None

    def histories(self) -> Iterable[JobHistory]:
        names = {job_id: job for job, job_id in self._job_ids.items()}
        with history.look(self._db) as connection:
            found = history.read(connection, list(names))
        return [replace(each, id=names[each.id]) for each in found]


def _unless_lost(write: Callable[[], T]) -> T | None:
    try:
        return write()
    except LeaseLostError:
        return None


class Compared:
    """Two records of which every answer must be the same."""

    def __init__(self, model: ModelRecord, real: RealRecord) -> None:
        """Both empty."""
        self._model, self._real = model, real
        self.rings: list[Place] = []
        self.num_answers = 0

    def set_time(self, now: float) -> None:
        self._model.set_time(now)
        self._real.set_time(now)

    def _both(self, name: str, ask: Callable[[Record], T]) -> T:
        said = ask(self._model), ask(self._real)
        assert said[0] == said[1], f"{name}: the model says {said[0]}, the code {said[1]}"
        rung = self._model.rings, self._real.rings
        assert sorted(rung[0]) == sorted(rung[1]), f"{name}: announced are {rung}"
        self.rings += self._model.rings
        self._model.rings, self._real.rings = [], []
        self.num_answers += 1
        return said[0]

    def submit(self, job: str, plan: Plan) -> None:
        self._both("submit", lambda record: record.submit(job, plan))

    def complete_submission(self, job: str) -> None:
        """It was one transaction."""

    def cancel(self, job: str) -> bool:
        return self._both("cancel", lambda record: record.cancel(job))

    def retry(self, job: str) -> bool:
        return self._both("retry", lambda record: record.retry(job))

    def remove(self, job: str) -> bool:
        return self._both("remove", lambda record: record.remove(job))

    def find_due(self) -> Place | None:
        return self._both("find_due", lambda record: record.find_due())

    def claim(self, worker: str, seen: Place) -> Token | None:
        return self._both("claim", lambda record: record.claim(worker, seen))

    def beat(self, token: Token) -> State | None:
        return self._both("beat", lambda record: record.beat(token))

    def progress(self, token: Token, epochs: Sequence[int]) -> State | None:
        return self._both("progress", lambda record: record.progress(token, epochs))

    def checkpoint(self, token: Token, epoch: int) -> bool:
        return self._both("checkpoint", lambda record: record.checkpoint(token, epoch))

    def newest_checkpoint(self, place: Place) -> int:
        return self._both("resume", lambda record: record.newest_checkpoint(place))

    def stage(self, token: Token) -> bool:
        return self._both("stage", lambda record: record.stage(token))

    def finish(self, token: Token, *, well: bool) -> State | None:
        return self._both("finish", lambda record: record.finish(token, well=well))

    def complete_finish(self, token: Token) -> None:
        """It was one transaction."""

    def hand_back(self, token: Token) -> State | None:
        return self._both("hand_back", lambda record: record.hand_back(token))

    def report_crash(self, token: Token) -> State | None:
        return self._both("report_crash", lambda record: record.report_crash(token))

    def active(self) -> list[Beat]:
        return self._both("active", lambda record: sorted(record.active()))

    def take_back(self, seen: Beat) -> bool:
        return self._both("take_back", lambda record: record.take_back(seen))

    def try_writing(self) -> None:
        self._both("try_writing", lambda record: record.try_writing())

    def find_waiting(self, older_than: float, now: float) -> list[Place]:
        return self._both(
            "find_waiting", lambda record: sorted(record.find_waiting(older_than, now))
        )

    def state_of(self, job: str) -> State | None:
        return self._both("state_of", lambda record: record.state_of(job))

    def histories(self) -> Iterable[JobHistory]:
        """The code's, whose runs are where the model's are."""
        real = list(self._real.histories())
        for ours, theirs in zip(self._model.histories(), real, strict=True):
            assert ours.job == theirs.job or (
                ours.job is not None
                and theirs.job is not None
                and (ours.job.state, ours.job.has_end) == (theirs.job.state, theirs.job.has_end)
            ), f"{ours.id}: the model has {ours.job}, the code {theirs.job}"
            for mine, other in zip(ours.runs, theirs.runs, strict=True):
                named = replace(other, id=mine.id, needs=mine.needs)
                assert mine == named, f"the model has {mine}, the code {named}"
        return real
