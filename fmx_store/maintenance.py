"""What any server or worker does now and then: announce again, take back, sweep up.

Any number of processes may do it at once: each step is decided by a fenced write.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from sqlmodel import col, or_, select

from fmx_store import artifacts, claims, event_log
from fmx_store.blobs import BlobStore
from fmx_store.claims import Heartbeat
from fmx_store.database import OUTAGES, Database, Ring
from fmx_store.errors import StorageUnavailableError
from fmx_store.lifecycle import LIGHT, queue_of
from fmx_store.settings import Settings
from fmx_store.states import State
from fmx_store.tables import Run, now

ANNOUNCE_AT_MOST = 100  # runs a round; the rest waits for the next
SWEEP_SECONDS = 3600.0

_log = logging.getLogger(__name__)


def find_waiting(db: Database, older_than_seconds: float) -> list[Ring]:
    """Due runs whose announcement seems lost; they count as announced now."""
    before = now() - timedelta(seconds=older_than_seconds)
    query = (
        select(Run)
        .where(
            Run.state == State.QUEUED,
            Run.waiting_for == 0,
            or_(col(Run.rung_at).is_(None), col(Run.rung_at) < before),
        )
        .order_by(col(Run.priority).desc(), col(Run.job_id), col(Run.position))
        .limit(ANNOUNCE_AT_MOST)
        .options(*LIGHT)
    )
    with db.read() as session:
        if session.exec(query.limit(1)).first() is None:
            return []
    with db.write() as session:
        waiting = session.exec(query.with_for_update(skip_locked=True)).all()
        for run in waiting:
            run.rung_at = now()
        return [(run.id, queue_of(run.device)) for run in waiting]


class Reaper:
    """Takes runs back whose heartbeat stood still for a lease, on this process's own clock."""

    def __init__(
        self,
        lease_seconds: float,
        max_crashes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is known at first: each run gets a whole lease from when it is first seen."""
        self._lease_seconds = lease_seconds
        self._max_crashes = max_crashes
        self._clock = clock
        self._since: dict[Heartbeat, float] = {}
        self._looked_at: float | None = None
        self._is_in_doubt = False

    def look(self, db: Database) -> int:
        """Looks at every active run once; answers how many were taken back.

        No run pays for what its worker may have suffered too. After a database error nothing is
        known until the database takes writes again: one that can only be read shows no heartbeats.
        Nor is anything known after this process itself stood still.
        """
        try:
            return self._look(db)
        except Exception:
            self._since.clear()
            self._is_in_doubt = True
            raise

    def _look(self, db: Database) -> int:
        self._notice_pause()
        if self._is_in_doubt or self._find_silent(self._lease_seconds / 2):
            self._try_writing(db)
        beats = claims.active(db)
        at = self._notice_pause()
        self._since = {beat: self._since.get(beat, at) for beat in beats}
        silent = self._find_silent(self._lease_seconds)
        return sum(claims.take_back(db, beat, self._max_crashes) for beat in silent)

    def _notice_pause(self) -> float:
        """Forgets all after a pause; a shorter one leaves a worker time for a heartbeat."""
        at = self._clock()
        if self._looked_at is not None and at - self._looked_at > self._lease_seconds / 2:
            self._since.clear()
        self._looked_at = at
        return at

    def _find_silent(self, seconds: float) -> list[Heartbeat]:
        at = self._clock()
        return [beat for beat, since in self._since.items() if at - since >= seconds]

    def _try_writing(self, db: Database) -> None:
        """Whether heartbeats can be written at all, and without a long wait for other writes."""
        began = self._clock()
        claims.try_writing(db)
        self._is_in_doubt = False
        if self._clock() - began > self._lease_seconds / 4:
            self._since.clear()


class Maintenance:
    """The loop, in a thread of its own."""

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        settings: Settings,
        ring: Callable[[list[Ring]], None],
    ) -> None:
        """Nothing runs until `start`."""
        self._db, self._blobs, self._settings, self._ring = db, blobs, settings, ring
        self._reaper = Reaper(settings.lease_seconds, settings.max_crashes)
        self._stop = threading.Event()
        self._swept_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Begins the loop."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the loop after its present round."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.heartbeat_seconds / 2):
            try:
                self.round()
            except OUTAGES as error:
                _log.warning("the database is away: %s", str(error).partition("\n")[0])
            except StorageUnavailableError as error:
                _log.warning("nothing is swept up: %s", error)
            except Exception:  # noqa: BLE001 - an outage of any kind: the next round looks again
                _log.exception("maintenance failed; it goes on")

    def round(self) -> None:
        """One round: take back, announce again, and now and then sweep."""
        if taken := self._reaper.look(self._db):
            _log.warning("took %d run(s) back from silent workers", taken)
        if rings := find_waiting(self._db, self._settings.dispatch_seconds):
            self._ring(rings)
        if time.monotonic() - self._swept_at > SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            self.sweep()

    def sweep(self) -> None:
        """Removes files that nothing names any more, and what jobs deleted long ago have left."""
        artifacts.collect(self._db, self._blobs, artifacts.find_unused(self._db))
        self._blobs.tidy()
        event_log.forget_deleted(self._db, timedelta(days=self._settings.event_days))
