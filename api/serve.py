"""`python -m api.serve`: server and worker on this machine, until a signal ends both.

Brings the database to the newest revision, starts `python -m api` and `python -m worker` with this
process's environment, and prints one line when the server is ready. Exit status: 0 ended by a
signal, 1 one of the two ended by itself, 2 the database could not be brought to its revision.
"""

import ctypes
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from urllib.parse import urlsplit

ENDED, NOT_MIGRATED = 1, 2

LOOK_SECONDS = 0.1  # between two looks at the processes
ASK_SECONDS = 0.5  # between two questions whether the server is ready
ANSWER_SECONDS = 10.0  # for an answer to one
STOP_SECONDS = 20.0  # for both to end by themselves; a training is handed back in about 3

_LISTENS = re.compile(r"fmx listens on (http://\S+)")
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Linux: a child gets SIGTERM when we are killed, so that nothing is left behind then."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """`python -m …` in a session of its own, so that it gets no signals but those passed on."""

    def __init__(self, *command: str) -> None:
        """Starts it."""
        self.name = command[0]
        self.url: str | None = None  # where it says that it listens
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs yet, see `follow`
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def follow(self) -> None:
        """Passes on what it prints, in a thread: until its end no other child may be started."""
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            print(line, end="", flush=True)  # noqa: T201 - passed on
            if found := _LISTENS.search(line):
                self.url = found[1]

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Passes a signal on."""
        self._process.send_signal(number)

    def close(self, deadline: float) -> None:
        """Waits for its end until then, and kills what is left of its session."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._reader.is_alive():
            self._reader.join(timeout=1)


class Family:
    """The children of this process, and the signals that are passed on to them."""

    def __init__(self) -> None:
        """From now on signals do not end this process by themselves."""
        self.is_told_to_stop = False
        self._children: list[Child] = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.is_told_to_stop = True
        for child in self._children:
            child.send(signal.SIGTERM if number == signal.SIGHUP else number)

    def start(self, *command: str) -> Child:
        """A new child."""
        child = Child(*command)
        self._children.append(child)
        if self.is_told_to_stop:  # while it was being started
            child.send(signal.SIGTERM)
        return child

    def find_ended(self) -> Child | None:
        """A child that has ended."""
        return next((child for child in self._children if child.status is not None), None)

    def close(self) -> None:
        """Ends all children."""
        for child in self._children:
            if child.status is None and not self.is_told_to_stop:
                child.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            child.close(deadline)
        self._children.clear()


def main() -> int:
    """Runs server and worker; gives back the exit status."""
    family = Family()
    try:
        if not _migrate(family):
            return 0 if family.is_told_to_stop else NOT_MIGRATED
        server, worker = family.start("api"), family.start("worker")
        server.follow()
        worker.follow()
        ended = _watch(family, server)
        if family.is_told_to_stop or ended is None:
            return 0
        print(f"{ended.name} ended with status {ended.status}", file=sys.stderr)  # noqa: T201
        return ENDED
    finally:
        family.close()


def _migrate(family: Family) -> bool:
    """Brings the database to the newest revision; False where that did not work."""
    family.start("migrations", "upgrade").follow()
    while (ended := family.find_ended()) is None:
        time.sleep(LOOK_SECONDS)
    family.close()
    return ended.status == 0 and not family.is_told_to_stop


def _watch(family: Family, server: Child) -> Child | None:
    """Announces the server when it is ready; the child that ended, None where we are to stop."""
    is_announced, ask_at = False, 0.0
    while not family.is_told_to_stop:
        if (ended := family.find_ended()) is not None:
            return ended
        if server.url is not None and not is_announced and time.monotonic() >= ask_at:
            is_announced = _is_ready(server.url)
            ask_at = time.monotonic() + ASK_SECONDS
            if is_announced:
                print(f"fmx is ready at {server.url}", flush=True)  # noqa: T201 - the promised line
        time.sleep(LOOK_SECONDS)
    return None


def _is_ready(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(
        _WILDCARDS.get(host, host), parts.port, timeout=ANSWER_SECONDS
    )
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
