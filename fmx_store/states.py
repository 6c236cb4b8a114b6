"""The states of jobs and runs, which may follow which, and the one function that moves them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from fmx_store.errors import TransitionError


class State(StrEnum):
    """Where a job or a run stands."""

    QUEUED = "queued"  # recorded; starts when a worker is free and what it needs has succeeded
    RUNNING = "running"  # a worker holds its lease (a job: at least one run has begun)
    CANCELLING = "cancelling"  # a cancel was accepted; its processes are being stopped
    SUCCEEDED = "succeeded"  # everything was written
    FAILED = "failed"  # ended without a result; the reason says why
    CANCELLED = "cancelled"  # ended by a cancel


class Reason(StrEnum):
    """Why a job or a run did not succeed."""

    USER_ERROR = "user_error"
    NAN_LOSS = "nan_loss"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    WORKER_LOST = "worker_lost"
    TIME_LIMIT = "time_limit"
    CANCELLED_BY_USER = "cancelled_by_user"
    DEPENDENCY_FAILED = "dependency_failed"
    DATA_UNAVAILABLE = "data_unavailable"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    INTERNAL_ERROR = "internal_error"


RESUMABLE = frozenset(
    {Reason.TIME_LIMIT, Reason.WORKER_LOST, Reason.DISK_FULL, Reason.OUT_OF_MEMORY}
)
"""Reasons that lie outside the training: tried again, it goes on from its last checkpoint."""


class Role(StrEnum):
    """What a row of the runs table does."""

    TRAINING = "training"
    COLLATION = "collation"  # trains nothing: makes the job's tables and figures from its runs


ACTIVE = frozenset({State.RUNNING, State.CANCELLING})
ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

Transitions = Mapping[State, frozenset[State]]

JOB_TRANSITIONS: Transitions = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLING}),
    State.CANCELLING: frozenset({State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),  # by a retry
    State.CANCELLED: frozenset({State.QUEUED}),  # by a retry
}

TRAINING_TRANSITIONS: Transitions = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    # Back to the queue: handed back by a worker that stops, or its lease ran out.
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLING, State.QUEUED}),
    State.CANCELLING: frozenset({State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),  # by a retry
    State.CANCELLED: frozenset({State.QUEUED}),  # by a retry
}

# The tables of a job of which a run is retried are made anew.
COLLATION_TRANSITIONS: Transitions = {
    **TRAINING_TRANSITIONS,
    State.SUCCEEDED: frozenset({State.QUEUED}),
}


class Stateful(Protocol):
    """A job or a run."""

    id: str
    state: State
    reason: Reason | None
    started_at: datetime | None
    finished_at: datetime | None


def move(
    thing: Stateful, to: State, transitions: Transitions, reason: Reason | None = None
) -> None:
    """Puts a job or run into another state. Raises TransitionError where that is illegal."""
    if to not in transitions[thing.state]:
        raise TransitionError(type(thing).__name__.lower(), thing.id, thing.state, to)
    now = datetime.now(UTC)
    thing.state = to
    thing.reason = reason
    if to is State.RUNNING and thing.started_at is None:
        thing.started_at = now
    if to is State.QUEUED:
        thing.finished_at = None
    if to in ENDED:
        thing.finished_at = now
