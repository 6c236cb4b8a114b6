"""What the processes of one worker share: memory made before the pool is forked.

Nothing here takes a lock that a killed process could leave locked.
"""

import fcntl
import mmap
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager


class StopFlag:
    """What the main process tells the pool of the worker's end.

    A process of the pool whose main process is gone is told the same.
    """

    def __init__(self) -> None:
        """To be made in the main process."""
        self._bytes = mmap.mmap(-1, 2)
        self._main = os.getpid()

    def set(self) -> None:
        """Asks every process of the worker to stop; may be called by a signal handler."""
        self._bytes[0] = 1

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._bytes[0] == 1 or self._is_orphan()

    def set_deaf(self) -> None:
        """Says that the main process takes no more messages."""
        self._bytes[1] = 1

    def is_deaf(self) -> bool:
        """Whether a message that is given back now stays with the broker."""
        return self._bytes[1] == 1 or self._is_orphan()

    def is_main(self) -> bool:
        """Whether the caller is the worker's main process."""
        return os.getpid() == self._main

    def _is_orphan(self) -> bool:
        return not self.is_main() and os.getppid() != self._main


class Slots:
    """As many runs at a time as a worker may do, in its pool and its main process together."""

    def __init__(self, count: int) -> None:
        """To be made in the main process."""
        self.count = count
        self._file = os.memfd_create("fmx-slots")
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def take(self) -> Generator[bool]:
        """A slot, for as long as the context lasts; False where none is free."""
        slot = self._take()
        try:
            yield slot is not None
        finally:
            if slot is not None:
                self._give_back(slot)

    def _take(self) -> int | None:
        with self._turn:
            for slot in range(self.count):
                # A lock of one byte belongs to a process, which may take it twice, and ends
                # with it. So each process knows its own.
                if slot not in self._mine and self._lock(slot):
                    self._mine.add(slot)
                    return slot
        return None

    def _give_back(self, slot: int) -> None:
        with self._turn:
            self._mine.discard(slot)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)

    def _lock(self, slot: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        return True

    def _forget(self) -> None:
        self._mine: set[int] = set()
        self._turn = threading.Lock()
