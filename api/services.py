"""What the server holds while it runs: opened once at its start, closed at its end."""

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import anyio
from celery import Celery
from sqlalchemy import select

from api.doorman import Doorman
from api.observed.standing import Standing
from api.observed.traffic import Traffic
from api.pages.glimpses import Glimpses
from api.predict.catalogue import Catalogue
from api.predict.roster import Roster
from api.readiness import Glances
from api.shelf import Shelf
from api.shown_jobs import ShownJobs
from api.streams import Places, SharedReads
from api.submissions import Submissions
from api.waiting import JobWatch
from fmx_store import artifacts
from fmx_store.blobs import BlobStore, open_store
from fmx_store.broker import Doorbell, make_celery
from fmx_store.database import Database
from fmx_store.events import Window
from fmx_store.keys import has_live_key
from fmx_store.logs import LogPage
from fmx_store.maintenance import Maintenance
from fmx_store.revision import get_revision
from fmx_store.settings import Settings
from fmx_store.tracing import Traces, open_traces
from fmx_store.viewers import View, Viewer


@dataclass
class Services:
    """Everything that a route may need.

    The record itself is out of its reach: it is seen through the eyes of whoever asks.
    """

    settings: Settings
    _db: Database
    celery: Celery
    doorbell: Doorbell
    blobs: BlobStore
    maintenance: Maintenance
    submissions: Submissions
    shown_jobs: ShownJobs
    watch: JobWatch
    catalogue: Catalogue
    roster: Roster
    models_executor: ThreadPoolExecutor
    doorman: Doorman
    standing: Standing
    traces: Traces
    places: Places
    traffic: Traffic = field(default_factory=Traffic)
    windows: SharedReads[Window] = field(default_factory=SharedReads[Window])
    log_pages: SharedReads[LogPage] = field(default_factory=SharedReads[LogPage])
    glances: Glances = field(default_factory=Glances)
    glimpses: Glimpses = field(default_factory=Glimpses)
    reports: Shelf = field(default_factory=Shelf)
    # Decoding is arithmetic: more of it at once than cores only takes memory.
    predict_limiter: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(_num_cores())
    )

    def view(self, viewer: Viewer) -> View:
        """The record as a viewer sees it."""
        return View(self._db, viewer)

    def ping(self) -> None:
        """Raises what the database raises where it does not answer."""
        with self._db.look() as connection:
            connection.execute(select(1))

    def has_live_key(self) -> bool:
        """Whether there is a key that lets anyone in."""
        return has_live_key(self._db)

    def get_revision(self) -> str | None:
        """The revision of the database's tables."""
        return get_revision(self._db)

    def collect(self, files: Iterable[str]) -> None:
        """Removes those files, by their sha256, that nothing names any more."""
        artifacts.collect(self._db, self.blobs, files)

    def stop_waiting(self) -> None:
        """Lets every long poll answer now. Must be called in the event loop's thread."""
        self.watch.stop()

    async def close(self) -> None:
        """Ends the threads and closes the connections."""
        self.stop_waiting()
        await asyncio.to_thread(self.maintenance.stop)
        await asyncio.to_thread(self.doorbell.close)
        await asyncio.to_thread(self._db.close)
        await asyncio.to_thread(self.traces.close)
        self.celery.close()
        await asyncio.to_thread(self.models_executor.shutdown, cancel_futures=True)


def _num_cores() -> int:
    return max(2, os.cpu_count() or 1)


def open_services(settings: Settings) -> Services:
    """Opens the record, the broker and the store, and starts the maintenance of the record.

    The database and the broker need not answer: what is down now may be up later.
    """
    db = Database(settings.database)
    celery = make_celery(settings)
    doorbell = Doorbell(celery)
    db.on_commit = doorbell.ring
    blobs = open_store(settings)
    shown_jobs = ShownJobs(db)
    models_executor = ThreadPoolExecutor(_num_cores(), "models")
    catalogue = Catalogue(db, blobs, settings, models_executor)
    services = Services(
        settings=settings,
        _db=db,
        celery=celery,
        doorbell=doorbell,
        blobs=blobs,
        maintenance=Maintenance(db, blobs, settings, doorbell.remind),
        submissions=Submissions(db, settings),
        shown_jobs=shown_jobs,
        watch=JobWatch(shown_jobs.version),
        catalogue=catalogue,
        roster=Roster(catalogue, settings.max_loaded_models),
        models_executor=models_executor,
        doorman=Doorman(db, settings),
        standing=Standing(db),
        traces=open_traces("fmx-server"),
        places=Places(settings),
    )
    services.maintenance.start()
    return services
