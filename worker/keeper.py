"""Checkpoints of a pack's runs, from the trainer's folder into the store, in a thread of its own.

A store may be slow or away; the watch over the trainer and the leases go on meanwhile. Only the
newest checkpoint of a run waits, since it makes those before it worthless.
"""

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from fmx_store import artifacts
from fmx_store.checkpoints import StoredCheckpoint
from fmx_store.claims import Lease
from fmx_store.database import OUTAGES
from fmx_store.errors import BlobError, LeaseLostError
from fmx_store.log_format import make_thread
from worker.context import Context
from worker.recorder import Recorder, first_line

RETRY_SECONDS = 1.0  # while the database is away
PATIENCE_SECONDS = 1.5  # for all that is on its way when the trainer has ended

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    epoch: int
    path: Path


class Keeper:
    """Stores checkpoints, and hands them to the recorder to be written under their leases."""

    def __init__(self, context: Context, recorder: Recorder) -> None:
        """The thread starts with the first checkpoint."""
        self._context, self._recorder = context, recorder
        self._changed = threading.Condition()
        self._waiting: dict[Lease, _File] = {}
        self._busy: Lease | None = None
        self._thread: threading.Thread | None = None
        self._stops = False
        self._patience_ends: float | None = None
        self._stored = defaultdict[Lease, list[str]](list)  # digests, the newest last

    def add(self, lease: Lease, epoch: int, path: Path) -> None:
        """A checkpoint to be stored soon."""
        with self._changed:
            self._drop(lease)
            self._waiting[lease] = _File(epoch, path)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = make_thread(self._run, "keeper")
                self._thread.start()

    def note(self, lease: Lease, stored: StoredCheckpoint) -> None:
        """One that is stored; to be collected when it is worth nothing any more."""
        with self._changed:
            self._stored[lease].append(stored.sha256)

    def hurry(self) -> None:
        """The trainer has ended: what is on its way has one and the same time left."""
        self._patience_ends = time.monotonic() + PATIENCE_SECONDS

    def settle(self, lease: Lease) -> float:
        """Waits until nothing of a run is on its way; answers when the patience ends, at most."""
        deadline = self._patience_ends or time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            self._changed.wait_for(
                lambda: lease not in self._waiting and lease != self._busy,
                max(0.0, deadline - time.monotonic()),
            )
        return deadline

    def forget(self, lease: Lease) -> None:
        """Stores nothing more of a run."""
        with self._changed:
            self._drop(lease)

    def collect(self, lease: Lease) -> None:
        """Removes what has been stored of a run and nothing names any more."""
        with self._changed:
            stored = tuple(self._stored[lease])
        if not stored:
            return
        try:
            artifacts.collect(self._context.db, self._context.blobs, stored)
            gone = {*stored} - artifacts.find_known(self._context.db, stored)
        except (OSError, *OUTAGES) as error:
            _log.warning("run %s: old checkpoints stay a while: %s", lease.run_id, error)
            return
        with self._changed:
            self._stored[lease] = [each for each in self._stored[lease] if each not in gone]

    def stop(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._stops = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=1)  # a store that hangs holds no one up

    def _drop(self, lease: Lease) -> None:
        dropped = self._waiting.pop(lease, None)
        if dropped is not None:
            dropped.path.unlink(missing_ok=True)

    def _run(self) -> None:
        while (task := self._take()) is not None:
            lease, file = task
            try:
                self._store(lease, file)
            except LeaseLostError:
                self.forget(lease)  # whose loss the recorder finds out and tells
            except OUTAGES as error:
                self._put_back(lease, file, error)
            except Exception as error:  # noqa: BLE001 - without a checkpoint only time may be lost
                known = isinstance(error, OSError | BlobError)
                _log.warning(
                    "run %s: the checkpoint of epoch %d can't be stored: %s",
                    lease.run_id, file.epoch, error, exc_info=not known,
                )  # fmt: skip
            with self._changed:
                self._busy = None
                self._changed.notify_all()

    def _take(self) -> tuple[Lease, _File] | None:
        """What to store next; waits for it. None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stops)
            if self._stops:
                return None
            self._busy = next(iter(self._waiting))
            return self._busy, self._waiting.pop(self._busy)

    def _put_back(self, lease: Lease, file: _File, error: Exception) -> None:
        _log.warning("the database is away, a checkpoint waits: %s", first_line(error))
        with self._changed:
            self._waiting.setdefault(lease, file)
            self._changed.wait_for(lambda: self._stops, RETRY_SECONDS)

    def _store(self, lease: Lease, file: _File) -> None:
        db, blobs = self._context.db, self._context.blobs
        [staged] = artifacts.stage(db, blobs, lease, {"checkpoint": file.path})
        stored = StoredCheckpoint(file.epoch, staged.sha256, staged.size_bytes)
        self._recorder.add_checkpoint(lease, stored)
        file.path.unlink(missing_ok=True)
        self.note(lease, stored)
        # Those before have been written, and all but two have made way; this one is pinned, unless
        # its run has ended meanwhile.
        self.collect(lease)
