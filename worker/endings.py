"""How a run's attempt ends."""

import errno
import traceback
from dataclasses import dataclass
from enum import Enum, auto

from fmx_store.claims import Failure
from fmx_store.errors import StorageUnavailableError
from fmx_store.states import RESUMABLE, Reason
from worker.messages import Done, Failed

FULL = {errno.ENOSPC, errno.EDQUOT}

_REASONS = {
    "user_error": Reason.USER_ERROR,
    "nan_loss": Reason.NAN_LOSS,
    "out_of_memory": Reason.OUT_OF_MEMORY,
    "disk_full": Reason.DISK_FULL,
    "data_unavailable": Reason.DATA_UNAVAILABLE,
}


class Halt(Enum):
    """Why a trainer is stopped before its end."""

    CANCELLED = auto()
    TIME_LIMIT = auto()
    WORKER_STOPS = auto()
    MEMORY_LIMIT = auto()


@dataclass(frozen=True)
class Crash:
    """The trainer ended without saying how."""

    message: str


@dataclass(frozen=True)
class HandBack:
    """The run goes back to the queue; nothing is wrong with it."""


Ending = Done | Failure | Crash | HandBack


def can_be_resumed(ending: Ending) -> bool:
    """Whether a later attempt may go on from this one's checkpoints."""
    match ending:
        case Crash() | HandBack():
            return True
        case Failure(reason):
            return reason in RESUMABLE
        case _:
            return False


def failure_of(error: Exception) -> Failure:
    """How a run ends whose supervisor could not go on."""
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno in FULL:
        return Failure(Reason.DISK_FULL, "disk_full", message)
    if isinstance(error, StorageUnavailableError):
        return Failure(Reason.STORAGE_UNAVAILABLE, error.code, message)
    text = "".join(traceback.format_exception(error))
    return Failure(
        Reason.INTERNAL_ERROR, "internal_error", f"{type(error).__name__}: {message}", text
    )


def failure_told(failed: Failed) -> Failure:
    """How a run ends whose trainer says that it failed."""
    reason = _REASONS.get(failed.code, Reason.INTERNAL_ERROR)
    return Failure(reason, failed.code, failed.message, failed.traceback)
