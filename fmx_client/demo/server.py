"""Server and worker for a while: started, waited for, stopped."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

START_SECONDS = 90.0
STOP_SECONDS = 25.0  # the server gives its children 20
_KILL_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_READY = re.compile(r"ready at (https?://\S+)")
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)
# The demo keeps to its own data folder, whatever else this machine is set up for.
_NOT_INHERITED = ("FMX_DATABASE_URL", "FMX_BROKER_URL", "FMX_STORAGE_URL")


class ServerStartError(Exception):
    """The server did not come up; the text ends with the end of its log."""

    def __init__(self, what: str, log: Path) -> None:
        """What is what happened."""
        super().__init__(f"{what}; the end of {log}:\n{log_tail(log)}")


def make_environment(data_dir: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The server's variables: embedded database and broker, a free port of this machine alone."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {
        **inherited,
        **settings,
        "FMX_DATA_DIR": str(data_dir),
        "FMX_HOST": "127.0.0.1",
        "FMX_PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }


def _die_with_parent() -> None:
    """Linux: the server gets SIGTERM even when the demo is killed."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Server:
    """Server and worker as one process with children, while a `with` block lasts.

    They are a session of their own: Ctrl-C in the terminal reaches the demo alone, which then
    stops them in order.
    """

    def __init__(
        self,
        data_dir: Path,
        log: Path,
        command: Sequence[str] = (sys.executable, "-m", "api.serve"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing runs yet; `environment` is put over what is inherited."""
        self.log = log
        self._command = command
        self._environment = make_environment(data_dir, environment or {})

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - this project's server
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs yet
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Asks it to stop; after a while, or when interrupted meanwhile, ends all that is left."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:
            self._end_all()

    def _end_all(self) -> None:
        """Ends what is left of the session, and waits until nothing is."""
        deadline = time.monotonic() + _KILL_SECONDS
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                time.sleep(_LOOK_SECONDS / 10)

    def wait_until_ready(self, seconds: float = START_SECONDS) -> str:
        """The server's URL, once it answers. Raises ServerStartError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if ready := _READY.search(self.log.read_text("utf-8", "replace")):
                return ready[1]
            if self._process.poll() is not None:
                status = self._process.returncode
                raise ServerStartError(f"the server ended with status {status}", self.log)
            time.sleep(_LOOK_SECONDS)
        raise ServerStartError(f"the server was not ready after {seconds:g} seconds", self.log)


def log_tail(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(lines) or "(empty)"
