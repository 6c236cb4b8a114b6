"""What must hold of every record at every moment, and of all that ever happened in it."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import col, select

from fmx_store.database import Database
from fmx_store.states import (
    ACTIVE,
    COLLATION_TRANSITIONS,
    ENDED,
    JOB_TRANSITIONS,
    TRAINING_TRANSITIONS,
    Role,
    State,
    Transitions,
)
from fmx_store.tables import Event, Job, Metric, Model, Pin, Run, RunNeed


@dataclass(frozen=True)
class Rows:
    """What runs have beside their rows."""

    metrics: set[tuple[str, int]]
    pins: set[tuple[str, int]]
    models: set[str]


def check_record(db: Database) -> None:
    """Checks every job."""
    with db.read() as session:
        runs, events = defaultdict[str, list[Run]](list), defaultdict[str, list[Event]](list)
        for run in session.exec(select(Run).order_by(col(Run.position))):
            runs[run.job_id].append(run)
        for event in session.exec(select(Event).order_by(col(Event.seq))):
            events[event.job_id].append(event)
        needs = defaultdict[str, set[str]](set)
        for need in session.exec(select(RunNeed)):
            needs[need.run_id].add(need.needs_id)
        rows = Rows(
            metrics=set(session.exec(select(Metric.run_id, Metric.attempt).distinct())),
            pins=set(session.exec(select(Pin.run_id, Pin.attempt))),
            models=set(session.exec(select(Model.run_id))),
        )
        for job in session.exec(select(Job)):
            check_job(job, runs[job.id])
            check_rows(runs[job.id], rows)
            check_waiting(runs[job.id], needs)
            check_history(job, runs[job.id], events[job.id])


def check_job(job: Job, runs: Sequence[Run]) -> None:
    """A job's state is what its runs' states say."""
    states = {run.state for run in runs}
    match job.state:
        case State.QUEUED:
            assert states <= {State.QUEUED, State.SUCCEEDED}
        case State.RUNNING:
            assert states - ENDED
            assert State.CANCELLING not in states
        case State.CANCELLING:
            assert State.CANCELLING in states
            assert not states & {State.QUEUED, State.RUNNING}
        case State.SUCCEEDED:
            assert states == {State.SUCCEEDED}
        case State.FAILED:
            assert states <= ENDED
            assert State.FAILED in states
        case State.CANCELLED:
            assert states <= ENDED
    assert (job.finished_at is not None) == (job.state in ENDED)
    assert (job.reason is not None) == (
        job.state in {State.FAILED, State.CANCELLED, State.CANCELLING}
    )


def check_rows(runs: Sequence[Run], rows: Rows) -> None:
    """What a run has beside its row fits its state."""
    for run in runs:
        assert (run.worker is not None) == (run.state in ACTIVE)
        assert (run.finished_at is not None) == (run.state in ENDED)
        assert {attempt for run_id, attempt in rows.metrics if run_id == run.id} <= {run.attempt}
        pins = {attempt for run_id, attempt in rows.pins if run_id == run.id}
        assert pins <= ({run.attempt} if run.state in ACTIVE else set())
        assert run.id not in rows.models or run.state is State.SUCCEEDED


def check_waiting(runs: Sequence[Run], needs: Mapping[str, set[str]]) -> None:
    """A queued run waits for as many as have not ended, and none of them has failed it."""
    by_id = {run.id: run for run in runs}
    for run in runs:
        needed = [by_id[n].state for n in needs.get(run.id, ())]
        if run.state is State.QUEUED:
            assert run.waiting_for == sum(state not in ENDED for state in needed)
            if run.role is Role.TRAINING:
                assert not set(needed) & {State.FAILED, State.CANCELLED}
        if run.state in {State.RUNNING, State.SUCCEEDED}:
            assert set(needed) <= (ENDED if run.role is Role.COLLATION else {State.SUCCEEDED})


def check_history(job: Job, runs: Sequence[Run], events: Sequence[Event]) -> None:
    """Only legal moves, each numbered once, by the attempt that may make it."""
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] <= job.version
    moves = [State(e.data["state"]) for e in events if e.type == "job"]
    assert moves[0] is State.QUEUED
    check_moves(moves, JOB_TRANSITIONS)
    assert moves[-1] is job.state
    for run in runs:
        check_run(run, [e for e in events if e.type == "run" and e.run_id == run.id])


def check_run(run: Run, events: Sequence[Event]) -> None:
    """One run's history: attempts count up by one, and all between two claims bear one number."""
    collates = run.role is Role.COLLATION
    states = [State.QUEUED, *(State(event.data["state"]) for event in events)]
    check_moves(states, COLLATION_TRANSITIONS if collates else TRAINING_TRANSITIONS)
    assert states[-1] is run.state
    assert collates or states.count(State.SUCCEEDED) <= 1
    attempt = 0
    for event in events:
        if event.data["state"] == State.RUNNING and run.reused_from is None:
            attempt += 1
        assert event.attempt == attempt
    assert run.attempt == attempt


def check_moves(states: Sequence[State], transitions: Transitions) -> None:
    """Each state may follow the one before."""
    for before, after in itertools.pairwise(states):
        assert after in transitions[before], (before, after)
