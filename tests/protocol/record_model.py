"""The record as plain data: what fmx_store does in transactions, each here one call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from guards import Guards

from fmx_store.history_rules import Batch, Epochs, EventFact, JobFacts, JobHistory, RunFacts
from fmx_store.states import ACTIVE, ENDED, Reason, Role, State

COLLATION = "collation"
MAX_CRASHES = 3

Plan = Mapping[str, Sequence[str]]
"""The trainings of a job by name, each with those it needs, which come before it."""


class Place(NamedTuple):
    """A run, by its job and its name."""

    job: str
    name: str


class Token(NamedTuple):
    """What a worker holds of a run."""

    place: Place
    attempt: int


class Beat(NamedTuple):
    """A run that is held, as a reaper sees it."""

    place: Place
    attempt: int
    beat: int


class Record(Protocol):
    """What the actors do to a record. None is the answer to a write whose lease is lost."""

    rings: list[Place]

    def set_time(self, now: float) -> None: ...
    def submit(self, job: str, plan: Plan) -> None: ...
    def complete_submission(self, job: str) -> None: ...
    def cancel(self, job: str) -> bool: ...
    def retry(self, job: str) -> bool: ...
    def remove(self, job: str) -> bool: ...
    def find_due(self) -> Place | None: ...
    def claim(self, worker: str, seen: Place) -> Token | None: ...
    def beat(self, token: Token) -> State | None: ...
    def progress(self, token: Token, epochs: Sequence[int]) -> State | None: ...
    def checkpoint(self, token: Token, epoch: int) -> bool: ...
    def newest_checkpoint(self, place: Place) -> int: ...
    def stage(self, token: Token) -> bool: ...
    def finish(self, token: Token, *, well: bool) -> State | None: ...
    def complete_finish(self, token: Token) -> None: ...
    def hand_back(self, token: Token) -> State | None: ...
    def report_crash(self, token: Token) -> State | None: ...
    def active(self) -> list[Beat]: ...
    def take_back(self, seen: Beat) -> bool: ...
    def try_writing(self) -> None: ...
    def find_waiting(self, older_than: float, now: float) -> list[Place]: ...
    def state_of(self, job: str) -> State | None: ...
    def histories(self) -> Iterable[JobHistory]: ...


@dataclass(slots=True)
class ModelRun:
    """A row of the runs table."""

    place: Place
    role: Role
    position: int
    needs: tuple[str, ...]
    waiting_for: int
    state: State = State.QUEUED
    attempt: int = 0
    beat: int = 0
    crashes: int = 0
    worker: str | None = None
    epochs_done: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])  # and attempts
    checkpoint: int = 0
    rung_at: float = 0.0
    pins: set[int] = field(default_factory=set[int])
    paths: frozenset[str] = frozenset()
    has_model: bool = False


@dataclass(slots=True)
class ModelJob:
    """A row of the jobs table, and its runs by name."""

    id: str
    runs: dict[str, ModelRun]
    state: State = State.QUEUED
    reason: Reason | None = None
    version: int = 1


class ModelRecord:
    """A record in which guards may be missing."""

    def __init__(self, guards: Guards) -> None:
        """Empty."""
        self._guards = guards
        self.jobs: dict[str, ModelJob] = {}
        self.events: dict[str, list[EventFact]] = {}
        self.rings: list[Place] = []
        self._now = 0.0
        self._plans: dict[str, Plan] = {}

    def set_time(self, now: float) -> None:
        """The present moment."""
        self._now = now

    # Jobs

    def submit(self, job: str, plan: Plan) -> None:
        """Records a job; with a key that is known nothing."""
        if job in self.jobs or job in self.events:
            if self._guards.one_submission_a_key:
                return
            job = f"{job}+"
            if job in self.events:
                return
        added = self.jobs[job] = ModelJob(job, {})
        self.events[job] = [EventFact(1, "job", state=State.QUEUED)]
        self._plans[job] = plan
        if self._guards.submit_is_one_transaction:
            self._add_runs(added, plan)

    def complete_submission(self, job: str) -> None:
        """The second half of a submission that is not one transaction."""
        found = self.jobs.get(job)
        if found is not None and not found.runs:
            self._add_runs(found, self._plans[job])

    def _add_runs(self, job: ModelJob, plan: Plan) -> None:
        everything = {**plan, COLLATION: tuple(plan)}
        for position, (name, needs) in enumerate(everything.items()):
            role = Role.COLLATION if name == COLLATION else Role.TRAINING
            run = ModelRun(Place(job.id, name), role, position, tuple(needs), len(needs))
            job.runs[name] = run
            if run.waiting_for == 0:
                self._ring(run)

    def cancel(self, job: str) -> bool:
        """Cancels what waits and asks what runs to stop; False where the job has ended."""
        found = self.jobs.get(job)
        if found is None or found.state in ENDED:
            return False
        if found.state is State.CANCELLING:
            return True
        for run in found.runs.values():
            if run.state is State.QUEUED:
                self._put(found, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
            elif run.state is State.RUNNING:
                self._put(found, run, State.CANCELLING, Reason.CANCELLED_BY_USER)
        if found.state is State.RUNNING:
            self._move_job(found, State.CANCELLING, Reason.CANCELLED_BY_USER)
        if not any(run.state in ACTIVE for run in found.runs.values()):
            self._move_job(found, State.CANCELLED, Reason.CANCELLED_BY_USER)
        return True

    def retry(self, job: str) -> bool:
        """Queues again what did not succeed."""
        found = self.jobs.get(job)
        if found is None or found.state not in {State.FAILED, State.CANCELLED}:
            return False
        self._move_job(found, State.QUEUED)
        again = [
            run
            for run in found.runs.values()
            if run.state is not State.SUCCEEDED or run.role is Role.COLLATION
        ]
        for run in again:
            run.crashes = run.epochs_done = 0
            self._put(found, run, State.QUEUED)
        for run in again:
            unmet = [n for n in run.needs if found.runs[n].state is not State.SUCCEEDED]
            if self._guards.retry_counts_needs:
                run.waiting_for = len(unmet)
            if run.waiting_for == 0:
                self._ring(run)
        return True

    def remove(self, job: str) -> bool:
        """Deletes a job that nobody works on, but for its events."""
        found = self.jobs.get(job)
        if found is None or found.state in ACTIVE:
            return False
        if self._guards.deletion_is_logged:
            self._note(found, "deleted")
        del self.jobs[job]
        return True

    # Claims

    def find_due(self) -> Place | None:
        """The run to be claimed next."""
        for job in self.jobs.values():
            for run in job.runs.values():
                if run.state is State.QUEUED and not self._waits(run):
                    return run.place
        return None

    def _waits(self, run: ModelRun) -> bool:
        return run.waiting_for > 0 and self._guards.claim_waits_for_needs

    def claim(self, worker: str, seen: Place) -> Token | None:
        """Gives the next run to a worker."""
        place = self.find_due() if self._guards.claim_looks_again else seen
        job = self.jobs.get(place.job) if place else None
        if place is None or job is None:
            return None
        run = job.runs[place.name]
        run.attempt += self._guards.claim_raises_token
        run.beat, run.worker = 0, worker
        if self._guards.claim_clears_epochs:
            run.epochs = [row for row in run.epochs if row[0] <= run.checkpoint]
        if self._guards.claim_adopts_epochs:
            run.epochs = [(epoch, run.attempt) for epoch, _ in run.epochs]
        run.epochs_done = run.checkpoint
        if job.state is State.QUEUED:
            self._move_job(job, State.RUNNING)
        self._put(job, run, State.RUNNING)
        goes_on = run.attempt > 1 and run.role is Role.TRAINING
        if goes_on and self._guards.claim_tells_rewind:
            self._note(job, "rewound", run, run.attempt, epoch=run.epochs_done)
        return Token(place, run.attempt)

    def _hold(self, token: Token) -> tuple[ModelJob, ModelRun] | None:
        job = self.jobs.get(token.place.job)
        run = job.runs[token.place.name] if job else None
        if job is None or run is None:
            return None
        if self._guards.token_on_write and run.attempt != token.attempt:
            return None
        if self._guards.held_on_write and run.state not in ACTIVE:
            return None
        return job, run

    def beat(self, token: Token) -> State | None:
        """Renews a lease."""
        return self.progress(token, ())

    def progress(self, token: Token, epochs: Sequence[int]) -> State | None:
        """Writes epochs."""
        held = self._hold(token)
        if held is None:
            return None
        job, run = held
        run.beat += 1
        self._tell(job, run, epochs)
        for epoch in epochs:
            if self._guards.epoch_replaces_itself:
                run.epochs = [row for row in run.epochs if row[0] != epoch]
            run.epochs.append((epoch, token.attempt))
            run.epochs_done = max(run.epochs_done, epoch)
        return run.state

    def _tell(self, job: ModelJob, run: ModelRun, epochs: Sequence[int]) -> None:
        """Notes which epochs are new."""
        known = run.epochs_done if self._guards.epochs_are_told_once else min(epochs, default=1) - 1
        last = max(epochs, default=0)
        if last > known:
            told = (Batch(run.position, run.attempt, known + 1, last),)
            self._note(job, "epochs", epochs=told)

    def checkpoint(self, token: Token, epoch: int) -> bool:
        """Records what the run can go on from."""
        held = self._hold(token)
        if held is None and self._guards.checkpoint_shows_token:
            return False
        job = self.jobs.get(token.place.job)
        if job is not None:
            job.runs[token.place.name].checkpoint = epoch
        return held is not None

    def newest_checkpoint(self, place: Place) -> int:
        """The epoch that a run which was just claimed goes on from."""
        return self.jobs[place.job].runs[place.name].checkpoint

    def stage(self, token: Token) -> bool:
        """Pins a file."""
        held = self._hold(token)
        if held is not None:
            held[1].pins.add(token.attempt)
        return held is not None

    def finish(self, token: Token, *, well: bool) -> State | None:
        """Ends a run and settles its job."""
        held = self._hold(token)
        if held is None:
            return None
        job, run = held
        has_model = well and run.role is Role.TRAINING
        run.paths = frozenset({f"{token.place.name}/{'model.onnx' if has_model else 'log.txt'}"})
        self._note(job, "artifacts", run, token.attempt, paths=run.paths)
        if run.state is State.CANCELLING and self._guards.finish_hears_cancel:
            to, reason = State.CANCELLED, Reason.CANCELLED_BY_USER
        else:
            to, reason = (State.SUCCEEDED, None) if well else (State.FAILED, Reason.NAN_LOSS)
        run.has_model = has_model and to is State.SUCCEEDED
        self._put(job, run, to, reason, token.attempt)
        if self._guards.finish_is_one_transaction:
            self._release(job, run)
            self._settle(job)
        return to

    def complete_finish(self, token: Token) -> None:
        """The second half of an end that is not one transaction."""
        job = self.jobs.get(token.place.job)
        if job is not None:
            self._release(job, job.runs[token.place.name])
            self._settle(job)

    def hand_back(self, token: Token) -> State | None:
        """Puts a run back."""
        held = self._hold(token)
        if held is None:
            return None
        if not self._guards.hand_back_is_no_crash:
            return self._crash(*held)
        return self._give_up(*held)

    def report_crash(self, token: Token) -> State | None:
        """Counts a crash."""
        held = self._hold(token)
        return self._crash(*held) if held else None

    def _crash(self, job: ModelJob, run: ModelRun) -> State:
        run.crashes += 1
        is_last = run.crashes >= MAX_CRASHES and self._guards.crashes_are_limited
        if run.state is State.RUNNING and is_last:
            self._put(job, run, State.FAILED, Reason.WORKER_LOST)
            self._release(job, run)
            self._settle(job)
            return run.state
        return self._give_up(job, run)

    def _give_up(self, job: ModelJob, run: ModelRun) -> State:
        if run.state is State.CANCELLING and self._guards.crash_hears_cancel:
            self._put(job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
            self._settle(job)
        else:
            self._put(job, run, State.QUEUED)
            self._ring(run)
        return run.state

    # Upkeep

    def active(self) -> list[Beat]:
        """Every run that is held."""
        return [
            Beat(run.place, run.attempt, run.beat)
            for job in self.jobs.values()
            for run in job.runs.values()
            if run.state in ACTIVE
        ]

    def take_back(self, seen: Beat) -> bool:
        """Takes a run from a worker that fell silent."""
        held = self._hold(Token(seen.place, seen.attempt))
        if held is None or (self._guards.beat_is_compared and held[1].beat != seen.beat):
            return False
        self._crash(*held)
        return True

    def try_writing(self) -> None:
        """Changes nothing."""

    def find_waiting(self, older_than: float, now: float) -> list[Place]:
        """Due runs whose announcement seems lost."""
        waiting = [
            run
            for job in self.jobs.values()
            for run in job.runs.values()
            if run.state is State.QUEUED and not self._waits(run) and now - run.rung_at > older_than
        ]
        for run in waiting:
            run.rung_at = now
        return [run.place for run in waiting]

    # What follows

    def _ring(self, run: ModelRun) -> None:
        run.rung_at = self._now
        self.rings.append(run.place)

    def _note(
        self,
        job: ModelJob,
        kind: str,
        run: ModelRun | None = None,
        attempt: int | None = None,
        state: State | None = None,
        reason: Reason | None = None,
        paths: frozenset[str] = frozenset(),
        *,
        epochs: tuple[Batch, ...] = (),
        epoch: int | None = None,
    ) -> None:
        job.version += 1
        name = run.place.name if run else None
        fact = EventFact(job.version, kind, name, attempt, state, reason, paths, epochs, epoch)
        self.events[job.id].append(fact)

    def _move_job(self, job: ModelJob, to: State, reason: Reason | None = None) -> None:
        job.state, job.reason = to, reason
        self._note(job, "job", state=to, reason=reason)

    def _put(
        self,
        job: ModelJob,
        run: ModelRun,
        to: State,
        reason: Reason | None = None,
        attempt: int | None = None,
    ) -> None:
        run.state = to
        self._note(job, "run", run, run.attempt if attempt is None else attempt, to, reason)
        if to not in ACTIVE:
            run.worker = None
            run.pins.clear()
        if to in ENDED and reason is not Reason.WORKER_LOST and self._guards.end_drops_checkpoints:
            run.checkpoint = 0

    def _release(self, job: ModelJob, ended: ModelRun) -> None:
        if ended.role is Role.COLLATION:
            return
        met = {ended.place.name}
        if ended.state is not State.SUCCEEDED and self._guards.failure_is_passed_on:
            for run in job.runs.values():  # in the plan's order, so that it reaches all
                is_hit = run.role is Role.TRAINING and met & set(run.needs)
                if is_hit and run.state is State.QUEUED:
                    met.add(run.place.name)
                    self._put(job, run, State.FAILED, Reason.DEPENDENCY_FAILED)
        if not self._guards.success_releases:
            return
        for run in job.runs.values():
            num_met = len(met & set(run.needs))
            if run.state is State.QUEUED and num_met:
                run.waiting_for -= num_met
                if run.waiting_for == 0:
                    self._ring(run)

    def _settle(self, job: ModelJob) -> None:
        *trainings, collation = job.runs.values()
        if any(run.state not in ENDED for run in trainings):
            return
        succeeded = any(run.state is State.SUCCEEDED for run in trainings)
        if collation.state is State.QUEUED and not succeeded:
            self._put(job, collation, State.CANCELLED, Reason.DEPENDENCY_FAILED)
        if collation.state not in ENDED or job.state in ENDED:
            return
        if job.state is State.CANCELLING:
            self._move_job(job, State.CANCELLED, Reason.CANCELLED_BY_USER)
        elif all(run.state is State.SUCCEEDED for run in job.runs.values()):
            self._move_job(job, State.SUCCEEDED)
        else:
            self._move_job(job, State.FAILED, Reason.NAN_LOSS)

    # Looking

    def state_of(self, job: str) -> State | None:
        """The job's state; None where it is not there."""
        found = self.jobs.get(job)
        return found.state if found else None

    def histories(self) -> Iterable[JobHistory]:
        """What the checker of the record looks at."""
        for job_id, events in self.events.items():
            job = self.jobs.get(job_id)
            facts = None
            if job is not None:
                facts = JobFacts(job.state, job.reason, job.version, job.state in ENDED)
            runs = [_facts_of(run) for run in job.runs.values()] if job else []
            yield JobHistory(job_id, facts, runs, events)


def _facts_of(run: ModelRun) -> RunFacts:
    numbers = [epoch for epoch, _ in run.epochs]
    attempts = [attempt for _, attempt in run.epochs]
    epochs = Epochs()
    if numbers:
        ends = (min(numbers), max(numbers), min(attempts), max(attempts))
        epochs = Epochs(len(numbers), *ends)
    return RunFacts(
        id=run.place.name,
        name=run.place.name,
        role=run.role,
        position=run.position,
        state=run.state,
        attempt=run.attempt,
        waiting_for=run.waiting_for,
        epochs_done=run.epochs_done,
        has_worker=run.worker is not None,
        has_end=run.state in ENDED,
        needs=run.needs,
        epochs=epochs,
        pins=frozenset(run.pins),
        checkpoint=run.checkpoint,
        has_model=run.has_model,
        paths=run.paths,
    )
