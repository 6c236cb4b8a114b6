"""Folders that attempts work in, under the settings' scratch folder: `RUN-ATTEMPT`."""

import logging
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlmodel import col, select

from fmx_store.claims import Lease
from fmx_store.database import Database
from fmx_store.states import ACTIVE
from fmx_store.tables import Run

MAX_LOG_BYTES = 8 * 1024 * 1024  # the end of a longer log is what is kept

_log = logging.getLogger(__name__)


class Scratch:
    """One attempt's folder."""

    def __init__(self, root: Path) -> None:
        """Makes nothing."""
        self.root = root
        self.order = root / "order.json"
        self.log = root / "log.txt"
        self.output = root / "output.txt"  # what a pack's process prints, beside its runs' logs
        self.artifacts = root / "artifacts"
        self.checkpoints = root / "checkpoints"
        self.inputs = root / "inputs"
        self.temporary = root / "tmp"

    def trim_log(self) -> None:
        """Cuts the beginning off a log that is too long to keep. Raises OSError."""
        size = self.log.stat().st_size
        if size <= MAX_LOG_BYTES:
            return
        with self.log.open("rb") as file:
            file.seek(size - MAX_LOG_BYTES)
            file.readline()
            kept = file.read()
        self.log.write_bytes(b"[the beginning was too long to keep]\n" + kept)

    def add_to_log(self, output: Path) -> None:
        """Puts what was printed at the end of the log. Raises OSError."""
        if output.exists() and output.stat().st_size > 0:
            with self.log.open("ab") as log, output.open("rb") as printed:
                log.write(b"[printed by the process of the pack]\n")
                shutil.copyfileobj(printed, log)

    def clear(self) -> None:
        """Removes what lies here, but for what the process that runs may still print to."""
        for folder in (self.artifacts, self.checkpoints, self.inputs):
            shutil.rmtree(folder, ignore_errors=True)


def last_words(log: Path) -> str:
    """The last line that was printed to a log, if any."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")[-500:]
    return ""


def scratch_of(parent: Path, lease: Lease) -> Scratch:
    """Where an attempt works; `open_scratch` makes the folder."""
    return Scratch(parent / f"{lease.run_id}-{lease.attempt}")


@contextmanager
def open_scratch(parent: Path, lease: Lease) -> Generator[Scratch]:
    """A new folder for an attempt, removed at the end. Raises OSError.

    What attempts before it have left goes too: their lease is lost.
    """
    scratch = scratch_of(parent, lease)
    for left in parent.glob(f"{lease.run_id}-*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        scratch.root.mkdir(parents=True)
        scratch.temporary.mkdir()
        yield scratch
    finally:
        shutil.rmtree(scratch.root, ignore_errors=True)


def sweep_scratch(parent: Path, db: Database) -> int:
    """Removes what killed workers have left, attempts that hold no lease; answers how many."""
    folders = [path for path in parent.glob("*-*") if path.is_dir()]
    if not folders:
        return 0
    with db.read() as session:
        query = select(Run.id, Run.attempt).where(col(Run.state).in_(ACTIVE))
        held = {f"{run_id}-{attempt}" for run_id, attempt in session.exec(query)}
    left = [path for path in folders if path.name not in held]
    for path in left:
        _log.info("removing %s, which no attempt works in", path)
        shutil.rmtree(path, ignore_errors=True)
    return len(left)
