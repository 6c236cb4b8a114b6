"""What must hold of every record at every moment, and of all that ever happened in it."""

import itertools
from collections.abc import Sequence

from record_kit import events_of, needs_of
from sqlmodel import Session, col, select

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
from fmx_store.tables import Artifact, Blob, Event, Job, Metric, Model, Pin, Run


def check_record(db: Database) -> None:
    """Checks every job."""
    with db.read() as session:
        for job in session.exec(select(Job)).all():
            runs = list(
                session.exec(select(Run).where(Run.job_id == job.id).order_by(col(Run.position)))
            )
            check_job(job, runs)
            check_rows(session, runs)
            check_waiting(runs, needs_of(session, job.id))
            check_history(job, runs, events_of(session, job.id))


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


def check_rows(session: Session, runs: Sequence[Run]) -> None:
    """What a run has beside its row fits its state."""
    for run in runs:
        assert (run.worker is not None) == (run.state in ACTIVE)
        assert (run.finished_at is not None) == (run.state in ENDED)
        attempts = set(session.exec(select(Metric.attempt).where(Metric.run_id == run.id)))
        assert attempts <= {run.attempt}
        pins = set(session.exec(select(Pin.attempt).where(Pin.run_id == run.id)))
        assert pins <= ({run.attempt} if run.state in ACTIVE else set())
        model = session.exec(select(Model).where(Model.run_id == run.id)).first()
        assert model is None or run.state is State.SUCCEEDED
        for artifact in session.exec(select(Artifact).where(Artifact.run_id == run.id)):
            assert session.get(Blob, artifact.sha256) is not None


def check_waiting(runs: Sequence[Run], needs: dict[str, set[str]]) -> None:
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
