"""The states of jobs and runs, which may follow which, and the one function that moves them."""

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
    INTERNAL_ERROR = "internal_error"


class Role(StrEnum):
    """What a row of the runs table does."""

    TRAINING = "training"
    COLLATION = "collation"  # trains nothing: makes the job's tables and figures from its runs


ACTIVE = frozenset({State.RUNNING, State.CANCELLING})
ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    # Back to the queue: handed back by a worker that stops, or its lease ran out.
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLING, State.QUEUED}),
    State.CANCELLING: frozenset({State.CANCELLED}),
    # Back to the queue by a retry; a collation also after it succeeded, to be made anew.
    State.SUCCEEDED: frozenset({State.QUEUED}),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}


class Stateful(Protocol):
    """A job or a run."""

    id: str
    state: State
    reason: Reason | None
    started_at: datetime | None
    finished_at: datetime | None


def move(thing: Stateful, to: State, reason: Reason | None = None) -> None:
    """Puts a job or run into another state. Raises TransitionError where that is illegal."""
    if to not in TRANSITIONS[thing.state]:
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
