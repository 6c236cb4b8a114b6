"""What the server holds while it runs: opened once at its start, closed at its end."""

import asyncio
import os
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from celery import Celery

from api.predict.catalogue import Catalogue
from api.predict.roster import Roster
from api.problems import refuse
from api.shelf import Shelf
from api.waiting import JobWatch
from fmx_store import jobs
from fmx_store.blobs import BlobStore, open_store
from fmx_store.broker import Doorbell, make_celery
from fmx_store.database import Database
from fmx_store.maintenance import Maintenance
from fmx_store.settings import Settings


class InFlight:
    """The idempotency keys whose requests are being served by this process."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, key: str) -> Generator[None]:
        """Raises ProblemError (409) where another request with the key is not answered yet."""
        with self._lock:
            if key in self._keys:
                detail = "a request with this idempotency key is being served"
                raise refuse(409, "in_flight", detail, headers={"Retry-After": "1"})
            self._keys.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(key)


@dataclass
class Services:
    """Everything that a route may need."""

    settings: Settings
    db: Database
    celery: Celery
    doorbell: Doorbell
    blobs: BlobStore
    maintenance: Maintenance
    watch: JobWatch
    catalogue: Catalogue
    roster: Roster
    models_executor: ThreadPoolExecutor
    in_flight: InFlight = field(default_factory=InFlight)
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
    models_executor = ThreadPoolExecutor(_num_cores(), "models")
    catalogue = Catalogue(db, blobs, settings, models_executor)
    services = Services(
        settings=settings,
        db=db,
        celery=celery,
        doorbell=doorbell,
        blobs=blobs,
        maintenance=Maintenance(db, blobs, settings, doorbell.remind),
        watch=JobWatch(lambda job_id: jobs.get_version(db, job_id)),
        catalogue=catalogue,
        roster=Roster(catalogue, settings.max_loaded_models),
        models_executor=models_executor,
    )
    services.maintenance.start()
    return services
