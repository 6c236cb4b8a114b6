"""What must hold of a job at every moment, and of all that ever happened to it.

The rules judge plain facts, so that they hold for the record and for a model of it alike.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from fmx_store.states import (
    ACTIVE,
    COLLATION_TRANSITIONS,
    ENDED,
    JOB_TRANSITIONS,
    TRAINING_TRANSITIONS,
    Reason,
    Role,
    State,
)

MODEL_FILE = "model.onnx"


class Rule(StrEnum):
    """What can be violated."""

    LOST = "lost"  # a job that was recorded is gone, and nobody has deleted it
    INCOMPLETE = "incomplete"  # runs of a job are missing or doubled
    NUMBERING = "numbering"  # events are not numbered by the versions they made
    ILLEGAL_MOVE = "illegal_move"  # a state that can't follow the one before
    ATTEMPT = "attempt"  # an event of an attempt that does not hold the run, or attempts that jump
    UNTIMELY = "untimely"  # what a job's state did not allow, such as a success after a cancel
    LOG_DIFFERS = "log_differs"  # the record is not what the log has led to
    JOB_DIFFERS = "job_differs"  # a job's state is not what its runs' states say
    WAITING = "waiting"  # a run waits for what has ended, or does not wait for what has not
    METRICS = "metrics"  # epochs are missing, come from another attempt, or are not those told of
    FILES = "files"  # artifacts are not those that were published
    MODEL = "model"  # a model without a finished classifier, or the other way round
    LEFTOVER = "leftover"  # what only a run that a worker holds may have
    DAMAGED = "damaged"  # a stored file is missing, or is not what its checksum says


@dataclass(frozen=True)
class Violation:
    """A rule that does not hold."""

    job_id: str
    run_id: str | None
    rule: Rule
    detail: str

    def __str__(self) -> str:
        """One line."""
        where = f"job {self.job_id}" + (f", run {self.run_id}" if self.run_id else "")
        return f"{where}: {self.rule}: {self.detail}"


class Batch(NamedTuple):
    """Epochs of the run at a position that were recorded together, and by which attempt."""

    position: int
    attempt: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class EventFact:
    """An event; `state` and `reason` of a move, `paths` of files that were published.

    `epochs` were recorded; `epoch` is the one that a run goes on after.
    """

    seq: int
    type: str
    run_id: str | None = None
    attempt: int | None = None
    state: State | None = None
    reason: Reason | None = None
    paths: frozenset[str] = frozenset()
    epochs: tuple[Batch, ...] = ()
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Epochs:
    """The rows of a run's epochs, and the oldest and newest attempt that has written one."""

    count: int = 0
    first: int = 1
    last: int = 0
    oldest_attempt: int = 0
    newest_attempt: int = 0

    @property
    def is_gapless(self) -> bool:
        """Whether they are 1, 2, … without a gap or a repeat."""
        return self.count == 0 or (self.first, self.last) == (1, self.count)


@dataclass(slots=True)
class RunFacts:
    """A run's row, and what there is of it in other tables."""

    id: str
    name: str
    role: Role
    position: int
    state: State
    attempt: int
    waiting_for: int
    epochs_done: int
    has_worker: bool
    has_end: bool
    is_taken_over: bool = False
    needs: Sequence[str] = ()
    epochs: Epochs = field(default_factory=Epochs)
    pins: frozenset[int] = frozenset()
    checkpoint: int = 0  # the newest one's epoch
    has_model: bool = False
    paths: frozenset[str] = frozenset()


@dataclass(slots=True)
class JobFacts:
    """A job's row."""

    state: State
    reason: Reason | None
    version: int
    has_end: bool


@dataclass(slots=True)
class JobHistory:
    """All there is of a job: its row, unless it is gone, its runs by position, its events."""

    id: str
    job: JobFacts | None
    runs: Sequence[RunFacts]
    events: Sequence[EventFact]


Finding = tuple[Rule, str | None, str]
"""A rule, the run it concerns, and what is wrong."""


def judge(history: JobHistory) -> Iterator[Violation]:
    """What does not hold of a job."""
    findings = itertools.chain(_judge_log(history), _judge_record(history))
    return (Violation(history.id, run_id, rule, detail) for rule, run_id, detail in findings)


def _judge_record(history: JobHistory) -> Iterator[Finding]:
    job = history.job
    if job is None:
        if not history.events or history.events[-1].type != "deleted":
            yield Rule.LOST, None, "it was recorded, and nobody has deleted it"
        return
    if any(event.type == "deleted" for event in history.events):
        yield Rule.LOG_DIFFERS, None, "it was deleted and is still there"
    yield from _judge_runs(history.runs)
    yield from _judge_job(job, {run.state for run in history.runs})
    yield from _judge_end_of_log(job, history)
    yield from _judge_told_epochs(history)
    for run in history.runs:
        yield from _judge_waiting(run, {other.id: other for other in history.runs})
        yield from _judge_epochs(run)
        yield from _judge_rest(run)
        yield from _judge_files(run, history.events)


def _judge_runs(runs: Sequence[RunFacts]) -> Iterator[Finding]:
    roles = [run.role for run in runs]
    if [run.position for run in runs] != list(range(len(runs))) or len(runs) < 2:  # noqa: PLR2004 - a training and the collation
        yield Rule.INCOMPLETE, None, f"its runs are at {[run.position for run in runs]}"
    elif roles != [Role.TRAINING] * (len(runs) - 1) + [Role.COLLATION]:
        yield Rule.INCOMPLETE, None, "its last run, and no other, should be the collation"
    if len({run.name for run in runs}) < len(runs):
        yield Rule.INCOMPLETE, None, "two of its runs have one name"


def _judge_job(job: JobFacts, states: set[State]) -> Iterator[Finding]:
    fits = {
        State.QUEUED: states <= {State.QUEUED, State.SUCCEEDED},
        State.RUNNING: not states <= ENDED and State.CANCELLING not in states,
        State.CANCELLING: State.CANCELLING in states and not states & {State.QUEUED, State.RUNNING},
        State.SUCCEEDED: states == {State.SUCCEEDED},
        State.FAILED: states <= ENDED and State.FAILED in states,
        State.CANCELLED: states <= ENDED,
    }[job.state]
    if not fits:
        yield Rule.JOB_DIFFERS, None, f"it is {job.state} and its runs are {sorted(states)}"
    if job.has_end != (job.state in ENDED):
        yield Rule.JOB_DIFFERS, None, f"it is {job.state}, and its end says otherwise"
    has_reason = job.state in {State.FAILED, State.CANCELLED, State.CANCELLING}
    if (job.reason is not None) != has_reason:
        yield Rule.JOB_DIFFERS, None, f"it is {job.state} with the reason {job.reason}"


def _judge_end_of_log(job: JobFacts, history: JobHistory) -> Iterator[Finding]:
    events = history.events
    states: dict[str | None, State] = {}
    attempts: dict[str | None, int | None] = {}
    for event in events:
        if event.state is not None:
            states[event.run_id], attempts[event.run_id] = event.state, event.attempt
    if states.get(None) is not job.state:
        yield Rule.LOG_DIFFERS, None, f"it is {job.state}, and in the log {states.get(None)}"
    if events and events[-1].seq > job.version:
        yield Rule.NUMBERING, None, f"it has version {job.version} and event {events[-1].seq}"
    for run in history.runs:
        logged = (states.get(run.id, State.QUEUED), attempts.get(run.id, 0))
        if (run.state, run.attempt) != logged:
            there = f"{run.state} in attempt {run.attempt}"
            yield Rule.LOG_DIFFERS, run.id, f"it is {there}, in the log {logged[0]} in {logged[1]}"
    for run_id in states.keys() - {None} - {run.id for run in history.runs}:
        yield Rule.INCOMPLETE, run_id, "the log knows this run and the record does not"


def _judge_waiting(run: RunFacts, by_id: Mapping[str, RunFacts]) -> Iterator[Finding]:
    needed = [by_id[need].state for need in run.needs if need in by_id]
    num_unmet = sum(state not in ENDED for state in needed)
    if run.state is State.QUEUED and run.waiting_for != num_unmet:
        yield Rule.WAITING, run.id, f"it waits for {run.waiting_for} runs, not {num_unmet}"
    failed = {State.FAILED, State.CANCELLED} & set(needed)
    if run.role is Role.TRAINING and failed and run.state not in ENDED:
        yield Rule.WAITING, run.id, f"it is {run.state}, and a run that it needs has {failed}"
    allowed = ENDED if run.role is Role.COLLATION else {State.SUCCEEDED}
    if run.state in {State.RUNNING, State.SUCCEEDED} and not set(needed) <= allowed:
        yield Rule.WAITING, run.id, f"it is {run.state}, and runs that it needs are {needed}"


def _judge_epochs(run: RunFacts) -> Iterator[Finding]:
    epochs = run.epochs
    if not epochs.is_gapless:
        places = f"{epochs.count} rows from epoch {epochs.first} to {epochs.last}"
        yield Rule.METRICS, run.id, f"there are {places}"
    if epochs.newest_attempt > run.attempt:
        yield Rule.METRICS, run.id, f"attempt {epochs.newest_attempt} has written, before its claim"
    if run.checkpoint > epochs.last:
        yield Rule.METRICS, run.id, f"its checkpoint is of epoch {run.checkpoint}"
    if run.state in {*ACTIVE, State.SUCCEEDED} and epochs.count != run.epochs_done:
        yield Rule.METRICS, run.id, f"{run.epochs_done} epochs are done, {epochs.count} are there"
    if run.state is State.SUCCEEDED and epochs.count and epochs.oldest_attempt < run.attempt:
        yield Rule.METRICS, run.id, f"attempt {epochs.oldest_attempt} has left epochs"


def _judge_told_epochs(history: JobHistory) -> Iterator[Finding]:
    """Each epoch is told of once, unless the run has gone back; what is told of is there.

    What was recorded by a release that told nothing is not held against the log.
    """
    positions = {run.id: run.position for run in history.runs}
    told: dict[int, int] = {}
    for event in history.events:
        for position, _, first, last in event.epochs:
            if first != told.get(position, first - 1) + 1:
                yield Rule.METRICS, None, f"event {event.seq} tells of epoch {first} of {position}"
            told[position] = last
        position = positions.get(event.run_id or "", -1)
        if event.type == "rewound" and event.epoch is not None and position in told:
            told[position] = min(told[position], event.epoch)
    for run in history.runs:
        if run.position in told and told[run.position] != run.epochs.last:
            there = f"{told[run.position]} epochs were told of, {run.epochs.last} are there"
            yield Rule.METRICS, run.id, there


def _judge_rest(run: RunFacts) -> Iterator[Finding]:
    if run.has_worker != (run.state in ACTIVE):
        yield Rule.LEFTOVER, run.id, f"it is {run.state}, and its worker says otherwise"
    if run.has_end != (run.state in ENDED):
        yield Rule.LEFTOVER, run.id, f"it is {run.state}, and its end says otherwise"
    if not run.pins <= ({run.attempt} if run.state in ACTIVE else set()):
        yield Rule.LEFTOVER, run.id, f"it is {run.state} and pins files of {sorted(run.pins)}"
    if run.checkpoint and run.state in {State.SUCCEEDED, State.CANCELLED}:
        yield Rule.LEFTOVER, run.id, f"it is {run.state} and has a checkpoint"


def _judge_files(run: RunFacts, events: Iterable[EventFact]) -> Iterator[Finding]:
    has_succeeded = run.state is State.SUCCEEDED
    if has_succeeded and not run.is_taken_over:
        own = (e for e in events if (e.type, e.run_id, e.attempt) == _published(run))
        wanted = next((event.paths for event in own), frozenset[str]())
        if run.paths != wanted:
            yield Rule.FILES, run.id, f"published and there differ: {sorted(wanted ^ run.paths)}"
    is_classifier = run.role is Role.TRAINING and f"{run.name}/{MODEL_FILE}" in run.paths
    if run.has_model != (has_succeeded and is_classifier):
        yield Rule.MODEL, run.id, f"it has {'a' if run.has_model else 'no'} model"


def _published(run: RunFacts) -> tuple[str, str, int]:
    """What an event is like that says which files a run has left."""
    return "artifacts", run.id, run.attempt


def _judge_log(history: JobHistory) -> Iterator[Finding]:
    events = history.events
    numbers = [event.seq for event in events]
    if numbers != sorted(set(numbers)):
        yield Rule.NUMBERING, None, f"its events are {numbers}"
    first = events[0] if events else None
    if first is None or (first.type, first.state) != ("job", State.QUEUED):
        yield Rule.NUMBERING, None, "its log does not begin with its submission"
    yield from _Walk(history).go()


class _Walk:
    """Goes through a job's events, and knows at each where the job and its runs stood."""

    def __init__(self, history: JobHistory) -> None:
        self._events = history.events
        self._runs = {run.id: run for run in history.runs}
        self._job: State | None = None
        self._states: dict[str, State] = {}
        self._attempts: dict[str, int] = {}

    def go(self) -> Iterator[Finding]:
        """What was wrong at each step."""
        for event in self._events:
            if event.type == "job" and event.state is not None:
                yield from self._move_job(event.state)
            elif event.type == "run" and event.state is not None and event.run_id is not None:
                yield from self._move_run(event, event.run_id, event.state)
            elif event.run_id is not None and event.attempt != self._attempts.get(event.run_id, 0):
                yield Rule.ATTEMPT, event.run_id, f"event {event.seq} is of attempt {event.attempt}"
            elif event.type == "deleted" and (event is not self._events[-1] or self._is_active()):
                yield Rule.UNTIMELY, None, f"it was deleted by event {event.seq}"

    def _is_active(self) -> bool:
        return self._job in ACTIVE

    def _move_job(self, to: State) -> Iterator[Finding]:
        before = self._job
        if before is not None and to not in JOB_TRANSITIONS[before]:
            yield Rule.ILLEGAL_MOVE, None, f"from {before} to {to}"
        self._job = to

    def _move_run(self, event: EventFact, run_id: str, to: State) -> Iterator[Finding]:
        before = self._states.get(run_id, State.QUEUED)
        run = self._runs.get(run_id)
        # Of a run that was deleted nobody knows its role: what a collation may do is more.
        is_training = run is not None and run.role is Role.TRAINING
        transitions = TRAINING_TRANSITIONS if is_training else COLLATION_TRANSITIONS
        if to not in transitions[before] or not _may_fail(event, before):
            yield Rule.ILLEGAL_MOVE, run_id, f"from {before} to {to} ({event.reason})"
        if not self._fits_job(before, to):
            yield Rule.UNTIMELY, run_id, f"from {before} to {to} while its job was {self._job}"
        yield from self._count(event, run_id, to)
        self._states[run_id] = to

    def _count(self, event: EventFact, run_id: str, to: State) -> Iterator[Finding]:
        """Attempts count up by one, and all between two claims bear one number."""
        attempt = self._attempts.get(run_id, 0)
        run = self._runs.get(run_id)
        is_taken_over = event.attempt == 0 if run is None else run.is_taken_over
        if to is State.RUNNING and not is_taken_over:
            attempt += 1
        if event.attempt != attempt:
            yield Rule.ATTEMPT, run_id, f"event {event.seq} is of {event.attempt}, not {attempt}"
        self._attempts[run_id] = event.attempt or 0

    def _fits_job(self, before: State, to: State) -> bool:
        match to:
            case State.RUNNING | State.SUCCEEDED | State.FAILED:
                return self._job is State.RUNNING
            case State.QUEUED:
                return self._job is (State.QUEUED if before in ENDED else State.RUNNING)
            case _:
                return self._job not in ENDED


def _may_fail(event: EventFact, before: State) -> bool:
    """Whether a run that was not begun has failed for the only reason there is."""
    fails_unbegun = event.state is State.FAILED and before is State.QUEUED
    return not fails_unbegun or event.reason is Reason.DEPENDENCY_FAILED
