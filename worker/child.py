"""A trainer's process, as its supervisor sees it: orders, messages, its end, how to bring it about.

The child leads a session of its own, so that it and all it starts can be signalled as one group.
"""

import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from worker.messages import Assignment, Instruction, Message, decode, encode_instruction

READ_BYTES = 256 * 1024  # taken at once, so that a flood of messages keeps no one from other work
MAX_LINE_BYTES = 32 * 1024 * 1024  # the longest message is a job's results
KILL_SECONDS = 10.0  # a process that the kernel can't end by then is left to it

_log = logging.getLogger(__name__)


class FloodError(Exception):
    """The child has sent a message without an end."""


class Child:
    """A running child; leaving the context kills what is left of its group."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts `command DESCRIPTOR`, which shares our output until it has an order.

        Raises OSError.
        """
        with ExitStack() as stack:
            self._pipe, theirs = map(stack.enter_context, socket.socketpair())
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            stack.pop_all()
            theirs.close()
        self._pipe.setblocking(False)
        self._readable = select.poll()
        self._readable.register(self._pipe, select.POLLIN)
        self._tail = bytearray()
        self._kill_at: float | None = None
        self.is_silent = False  # the pipe has ended: no message will follow
        self.num_orders = 0
        self.first_bytes: int | None = None  # its own memory after the first order

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._process.pid

    def assign(self, assignment: Assignment) -> None:
        """Gives it an order."""
        self.num_orders += 1
        self.instruct(assignment)

    def instruct(self, instruction: Instruction) -> None:
        """Tells it something. One that has ended can't hear; its end is noticed elsewhere."""
        with suppress(OSError):
            self._pipe.sendall(encode_instruction(instruction))

    def receive(self, timeout_seconds: float) -> list[Message]:
        """What it has sent; waits for something to come, or for its end, but not longer.

        A line that is no message is dropped. Raises FloodError.
        """
        if not self.is_readable(timeout_seconds):
            return []
        try:
            received = self._pipe.recv(READ_BYTES)
        except ConnectionError:
            received = b""
        if not received:
            self.is_silent = True
            return []
        self._tail += received
        if len(self._tail) > MAX_LINE_BYTES:
            raise FloodError(f"a message has more than {MAX_LINE_BYTES} bytes")
        if b"\n" not in received:
            return []
        *lines, self._tail = self._tail.split(b"\n")
        return [message for line in lines if (message := _read(line)) is not None]

    def is_readable(self, timeout_seconds: float = 0) -> bool:
        """Whether there is something to receive; waits for it, but not longer."""
        return not self.is_silent and bool(self._readable.poll(1000 * timeout_seconds))

    def has_ended(self) -> bool:
        """Whether it has ended. It is reaped by `close` only: till then its id is its own."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def own_bytes(self) -> int:
        """The memory that it shares with no file; 0 where the system does not say."""
        with suppress(OSError, ValueError):
            _, resident, shared = Path(f"/proc/{self.pid}/statm").read_text().split()[:3]
            return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
        return 0

    def group_bytes(self) -> int:
        """The memory that it and all that it has started have; 0 where the system does not say."""
        found, ahead = 0, [self.pid]
        while ahead:
            pid = ahead.pop()
            with suppress(OSError, ValueError):
                resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                found += resident * os.sysconf("SC_PAGE_SIZE")
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                ahead += map(int, children.split())
        return found

    def has_children(self) -> bool:
        """Whether something that it has started is still there, where the system says."""
        with suppress(OSError):
            return bool(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().strip())
        return False

    def wait(self, timeout_seconds: float) -> bool:
        """Waits for its end, but not longer; answers whether it has come."""
        deadline = time.monotonic() + timeout_seconds
        while not self.has_ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def ask_to_stop(self, patience_seconds: float) -> None:
        """Sends SIGTERM to the group; `enforce` kills it when the patience is over."""
        self._signal(signal.SIGTERM)
        self._kill_at = time.monotonic() + patience_seconds

    def enforce(self) -> None:
        """Kills the group if it was asked to stop and has not done so in time."""
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._kill_at = None
            _log.warning("process %d did not stop in time and is killed", self.pid)
            self.kill()

    def kill(self) -> None:
        """Kills the group."""
        self._signal(signal.SIGKILL)

    def close(self) -> int | None:
        """Kills what is left of the group; answers the exit status, negative for a signal."""
        self.kill()
        self._pipe.close()
        try:
            return self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            _log.error("process %d can't be killed", self.pid)
            return None

    def _signal(self, how: signal.Signals) -> None:
        if self._process.returncode is None:
            os.killpg(self.pid, how)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _read(line: bytearray) -> Message | None:
    try:
        return decode(line)
    except ValidationError as error:
        _log.warning("not a message: %.200r (%s)", line, error.errors()[0]["type"])
        return None
