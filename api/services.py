"""What the server holds while it runs: opened once at its start, closed at its end."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import anyio
from celery import Celery

from api.predict.catalogue import Catalogue
from api.predict.roster import Roster
from api.shelf import Shelf
from api.shown_jobs import ShownJobs
from api.submissions import Submissions
from api.waiting import JobWatch
from fmx_store.blobs import BlobStore, open_store
from fmx_store.broker import Doorbell, make_celery
from fmx_store.database import Database
from fmx_store.maintenance import Maintenance
from fmx_store.settings import Settings


@dataclass
class Services:
    """Everything that a route may need."""

    settings: Settings
    db: Database
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
    reports: Shelf = field(default_factory=Shelf)
    # Decoding is arithmetic: more of it at once than cores only takes memory.
    predict_limiter: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(_num_cores())
    )

    def stop_waiting(self) -> None:
        """Lets every long poll answer now. Must be called in the event loop's thread."""
        self.watch.stop()

    async def close(self) -> None:
        """Ends the threads and closes the connections."""
        self.stop_waiting()
        await asyncio.to_thread(self.maintenance.stop)
        await asyncio.to_thread(self.doorbell.close)
        await asyncio.to_thread(self.db.close)
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
        db=db,
        celery=celery,
        doorbell=doorbell,
        blobs=blobs,
        maintenance=Maintenance(db, blobs, settings, doorbell.remind),
        submissions=Submissions(db, settings.max_runs_per_job),
        shown_jobs=shown_jobs,
        watch=JobWatch(shown_jobs.version),
        catalogue=catalogue,
        roster=Roster(catalogue, settings.max_loaded_models),
        models_executor=models_executor,
    )
    services.maintenance.start()
    return services
