"""Every move between two states, legal or not."""

import itertools
from datetime import UTC, datetime

import pytest

from fmx_store.errors import ConflictError, TransitionError
from fmx_store.states import (
    ACTIVE,
    COLLATION_TRANSITIONS,
    ENDED,
    JOB_TRANSITIONS,
    TRAINING_TRANSITIONS,
    Reason,
    Role,
    State,
    Transitions,
    move,
)
from fmx_store.tables import Run

Q, R, X = State.QUEUED, State.RUNNING, State.CANCELLING
S, F, C = State.SUCCEEDED, State.FAILED, State.CANCELLED

JOB = {(Q, R), (Q, C), (R, S), (R, F), (R, X), (X, C), (F, Q), (C, Q)}
TRAINING = {(Q, R), (Q, C), (Q, F), (R, S), (R, F), (R, X), (R, Q), (X, C), (F, Q), (C, Q)}
TABLES = [
    ("job", JOB_TRANSITIONS, JOB),
    ("training", TRAINING_TRANSITIONS, TRAINING),
    ("collation", COLLATION_TRANSITIONS, TRAINING | {(S, Q)}),
]


def thing(state: State) -> Run:
    return Run(
        job_id="j",
        position=0,
        name="n",
        role=Role.TRAINING,
        device="cpu",
        priority=5,
        state=state,
        reason=Reason.NAN_LOSS,
    )


@pytest.mark.parametrize(("name", "transitions", "legal"), TABLES, ids=[t[0] for t in TABLES])
@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_only_legal_moves_happen(
    name: str,
    transitions: Transitions,
    legal: set[tuple[State, State]],
    before: State,
    after: State,
) -> None:
    moved = thing(before)
    if (before, after) in legal:
        move(moved, after, transitions)
        assert moved.state is after
        return
    with pytest.raises(TransitionError) as caught:
        move(moved, after, transitions)
    assert moved.state is before, name
    assert moved.reason is Reason.NAN_LOSS
    assert isinstance(caught.value, ConflictError)
    assert (caught.value.present, caught.value.wanted) == (before, after)


def test_a_move_keeps_the_times_and_the_reason_right() -> None:
    run = thing(Q)
    move(run, R, TRAINING_TRANSITIONS)
    assert run.started_at is not None
    assert (run.reason, run.finished_at) == (None, None)
    first = run.started_at = datetime(2020, 1, 1, tzinfo=UTC)
    move(run, Q, TRAINING_TRANSITIONS)
    move(run, R, TRAINING_TRANSITIONS)
    assert run.started_at == first
    move(run, X, TRAINING_TRANSITIONS, Reason.CANCELLED_BY_USER)
    assert run.finished_at is None
    move(run, C, TRAINING_TRANSITIONS, Reason.CANCELLED_BY_USER)
    assert (run.reason, run.finished_at is not None) == (Reason.CANCELLED_BY_USER, True)
    move(run, Q, TRAINING_TRANSITIONS)
    assert (run.reason, run.finished_at) == (None, None)


def test_what_has_ended_is_not_active() -> None:
    assert frozenset(State) == ACTIVE | ENDED | {Q}
    assert not ACTIVE & ENDED
