"""The trainers of one process: each does order after order, and one is warm before it has any.

Importing torch takes seconds, many times what the smallest trainings take, so a trainer is started
before there is an order and kept after one that went well. Whatever else happened in it, it is
ended: an order never finds what a failed one has left.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from fmx_store.settings import Settings
from worker.child import Child

TRAINER: Final = (sys.executable, "-m", "worker.trainer")
MAX_ORDERS = 200  # so that what leaks, in whatever library, stays small
MAX_GROWTH_BYTES = 1024 * 1024 * 1024  # of its memory, from after its first order on

_SECRETS = {"FMX_DATABASE_URL", "FMX_BROKER_URL", "FMX_STORAGE_URL"}
_CREDENTIALS = "AWS_"  # what the names of the storage's begin with

_log = logging.getLogger(__name__)


class Trainers:
    """Starts trainers, and keeps at most one that has nothing to do.

    The kernel ends a trainer with the thread that has started it, so whoever keeps trainers uses
    them in the thread in which it will need them again.
    """

    def __init__(
        self, settings: Settings, command: Sequence[str] = TRAINER, *, keeps: bool
    ) -> None:
        """Nothing is started yet. What does not keep trainers starts one for each order."""
        self._settings, self._command, self._keeps = settings, command, keeps
        self._lock = threading.Lock()
        self._idle: Child | None = None

    def warm_up(self) -> None:
        """Sees to it that a trainer waits for the next order, where trainers are kept."""
        if not self._keeps:
            return
        with self._lock:
            if self._idle is not None:
                return
            try:
                self._idle = self._start()
            except OSError as error:
                _log.warning("no trainer can be started, the next order tries again: %s", error)

    def take(self) -> Child:
        """A trainer that waits; a new one where none does, or it has ended. Raises OSError."""
        with self._lock:
            child, self._idle = self._idle, None
        if child is not None:
            if not child.has_ended():
                return child
            _log.warning("the trainer that waited, process %d, has ended", child.pid)
            child.close()
        return self._start()

    def keep(self, child: Child) -> bool:
        """Takes back a trainer whose order is done; False where it has to end."""
        with self._lock:
            if not self._keeps or self._idle is not None or not _is_fit(child):
                return False
            self._idle = child
        return True

    def _start(self) -> Child:
        return Child(self._command, make_environment(self._settings))

    def close(self) -> None:
        """Ends the trainer that waits."""
        with self._lock:
            child, self._idle = self._idle, None
        if child is not None:
            child.close()


def _is_fit(child: Child) -> bool:
    """Whether nothing of its orders weighs on a trainer."""
    own_bytes = child.own_bytes()
    if child.first_bytes is None:
        child.first_bytes = own_bytes  # libraries, and where there is a GPU its context
    return not (
        child.is_silent
        or child.has_ended()
        or child.has_children()
        or child.num_orders >= MAX_ORDERS
        or own_bytes - child.first_bytes > MAX_GROWTH_BYTES
    )


def make_environment(settings: Settings) -> Mapping[str, str]:
    """The trainer's environment, without what opens the record or the storage."""
    return {
        "MPLCONFIGDIR": str(settings.cache_dir / "matplotlib"),
        **{name: value for name, value in os.environ.items() if not _is_secret(name)},
        "PYTHONFAULTHANDLER": "1",  # a crash in foreign code says where in the log
        "PYTHONUNBUFFERED": "1",
    }


def _is_secret(name: str) -> bool:
    """Whether a variable holds credentials, or an address that may hold a password."""
    return name in _SECRETS or name.startswith(_CREDENTIALS)
