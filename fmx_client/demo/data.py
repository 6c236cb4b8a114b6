"""Can the real Fashion-MNIST be had? Looked for, then downloaded, then installed as a package."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

PACKAGE = "dataset-fashion-mnist"
DOWNLOAD_SILENCE_SECONDS = 8  # after which a download is given up
LOOK_SECONDS = 180.0  # the longest that a download that does arrive may take
APT_SECONDS = 120.0
_APT = (
    "apt-get",
    "-q",
    *("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10"),
    *("-o", "DPkg::Lock::Timeout=20"),
)


@dataclass(frozen=True)
class Ran:
    """How a command ended: its status, its standard output, and its last line of errors."""

    status: int
    output: str
    complaint: str = ""


class Runner(Protocol):
    """Runs a command to its end, or for so many seconds."""

    def __call__(self, command: Sequence[str], seconds: float) -> Ran: ...


def run_command(command: Sequence[str], seconds: float) -> Ran:
    """Runs a command; one that can't be run or takes too long has a status other than 0."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(  # noqa: S603 - commands of this module
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ran(124, "", f"no end after {seconds:g} seconds")
    except OSError as error:
        return Ran(127, "", str(error))
    return Ran(done.returncode, done.stdout, _last_line(done.stderr))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def why_not_install(os_release: Path = Path("/etc/os-release")) -> str | None:
    """Why no package can be installed here; None if it can."""
    try:
        lines = os_release.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = dict(line.split("=", 1) for line in lines if "=" in line)
    names = f"{named.get('ID', '')} {named.get('ID_LIKE', '')}".replace('"', " ").split()
    if not {"debian", "ubuntu"} & set(names) or shutil.which("apt-get") is None:
        return "this is no Debian or Ubuntu"
    return None if os.geteuid() == 0 else "it takes root"


@dataclass(frozen=True)
class Decision:
    """Which data set the demo trains on, where it is from, and why it is not the real one."""

    dataset: str
    source: str
    problems: tuple[str, ...] = ()

    @property
    def is_real(self) -> bool:
        """Whether it is Fashion-MNIST."""
        return self.dataset == "fashion-mnist"


@dataclass
class DataSearch:
    """Looks for the data set step by step, and tells what it does."""

    cache_dir: Path
    tell: Callable[[str], None]
    run: Runner = run_command
    can_install: Callable[[], str | None] = why_not_install
    _problems: list[str] = field(default_factory=list[str])

    def decide(self) -> Decision:
        """The real data set if it can be had, else the stand-in."""
        for step in (self._look, self._download, self._install):
            source = step()
            if source is not None:
                return Decision("fashion-mnist", source)
        return Decision("synthetic", "made by fmx_ml", tuple(self._problems))

    def _look(self) -> str | None:
        return self._ask()

    def _download(self) -> str | None:
        self.tell("Fashion-MNIST is not on this machine: downloading it")
        return self._ask("--download", "--timeout", str(DOWNLOAD_SILENCE_SECONDS))

    def _ask(self, *options: str) -> str | None:
        """Where the data set is, as the library says, which verifies its checksums."""
        command = (sys.executable, "-m", "fmx_ml.data", "--cache-dir", str(self.cache_dir))
        ran = self.run((*command, *options), LOOK_SECONDS)
        said = _json(ran.output)
        if said.get("found"):
            return str(said["source"])
        self._problems[:] = [str(said.get("reason") or ran.complaint or f"status {ran.status}")]
        return None

    def _install(self) -> str | None:
        reason = self.can_install()
        if reason is None:
            reason = self._apt()
        if reason is None:
            return self._ask()
        self._problems.append(f"apt-get install {PACKAGE}: {reason}")
        return None

    def _apt(self) -> str | None:
        """Installs the package; what went wrong, if anything did."""
        install, update = ("install", PACKAGE, "-y", "--no-install-recommends"), ("update",)
        for order in (install, update, install):
            self.tell(f"apt-get {' '.join(order)}")
            ran = self.run((*_APT, *order), APT_SECONDS)
            self.tell(f"  {_last_line(ran.output) or ran.complaint}")
            if order is install and ran.status == 0:
                return None
        return ran.complaint or f"status {ran.status}"


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def first_pictures(dataset: str, cache_dir: Path, run: Runner = run_command) -> list[Any]:
    """The first test picture of each class: `row`, `label`, `pixels`; none if they can't be had."""
    command = (sys.executable, "-m", "fmx_ml.data", "--cache-dir", str(cache_dir))
    ran = run((*command, "--dataset", dataset, "--pictures"), LOOK_SECONDS)
    return list(_json(ran.output).get("pictures") or [])
