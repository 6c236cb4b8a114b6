"""What a trainer is told: orders, runs to drop, and to stop."""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from types import FrameType

from worker.messages import Assignment, Drop, decode_instruction


class Inbox:
    """The trainer's ear: the pipe from its supervisor, and SIGTERM."""

    def __init__(self, pipe: socket.socket) -> None:
        """`listen` is for a thread of its own."""
        self._lines = pipe.makefile("rb")
        self._orders: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._dropped: set[int] = set()  # a trainer that has dropped a run has no further order

    def listen(self) -> None:
        """Takes what comes until the other end is closed."""
        with contextlib.suppress(OSError):
            for line in self._lines:
                instruction = decode_instruction(line)
                if isinstance(instruction, Drop):
                    self._dropped.add(instruction.place)
                else:
                    self._orders.put(instruction)

    def ask_to_stop(self, _signum: int, _frame: FrameType | None) -> None:
        """For a signal: what is being done ends soon, and nothing else is begun."""
        self._stop.set()
        self._orders.put(None)

    def has_orders(self) -> bool:
        """Whether there is something to do."""
        return not self._orders.empty()

    def get(self) -> Assignment | None:
        """The next order; waits for it. None at the end."""
        return None if self._stop.is_set() else self._orders.get()

    def stops(self, place: int) -> Callable[[], bool]:
        """For the run at a place of the order: whether it should end."""
        return lambda: self._stop.is_set() or place in self._dropped
