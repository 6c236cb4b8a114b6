"""What the processes of one worker share: memory made before the pool is forked.

Nothing here takes a lock that a killed process could leave locked.
"""

import fcntl
import mmap
import os
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


class Gate:
    """Lets the processes of the pool work at the same time, or the standby alone."""

    def __init__(self) -> None:
        """To be made in the main process."""
        self._file = os.memfd_create("fmx-gate")

    @contextmanager
    def enter(self) -> Generator[bool]:
        """For a process of the pool; False while the standby works."""
        with self._lock(os.getpid(), 1) as entered:
            yield entered

    @contextmanager
    def close(self) -> Generator[bool]:
        """For the standby; False while a process of the pool works."""
        with self._lock(0, 0) as closed:
            yield closed

    @contextmanager
    def _lock(self, start: int, length: int) -> Generator[bool]:
        """A record lock, which belongs to one process and ends with it; length 0 is no end."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, length, start)
