"""Waits for a storage that is away: what a training has made is worth minutes of waiting.

The leases are kept meanwhile by the recorder, in its own thread.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from fmx_store.errors import StorageUnavailableError
from worker.recorder import RETRY_SECONDS, first_line

T = TypeVar("T")

_log = logging.getLogger(__name__)


class StoragePatience:
    """Patience with the storage: it begins with the first failure and does not come back."""

    def __init__(self, seconds: float, has_to_end: Callable[[], bool]) -> None:
        """Has_to_end says when waiting makes no sense any more, such as after a cancel."""
        self._seconds, self._has_to_end = seconds, has_to_end
        self._until: float | None = None

    def outlast(self, action: Callable[[], T]) -> T:
        """Does the action, again and again while the storage is away.

        Raises the last StorageUnavailableError when the patience is over.
        """
        pause, longest = RETRY_SECONDS
        while True:
            try:
                return action()
            except StorageUnavailableError as error:
                if self._is_over():
                    raise
                _log.warning("waiting: %s", first_line(error))
            time.sleep(pause)
            pause = min(2 * pause, longest)

    def _is_over(self) -> bool:
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        return now >= self._until or self._has_to_end()


def within(seconds: float, action: Callable[[], T]) -> T:
    """What an action gives in time. Raises TimeoutError, and it goes on by itself."""
    future = Future[T]()

    def act() -> None:
        try:
            future.set_result(action())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=act, name="within", daemon=True).start()
    return future.result(seconds)
