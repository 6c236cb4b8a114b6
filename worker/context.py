"""What one process of a worker works with. Each process opens its own: no connection is forked."""

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from celery import Celery

from fmx_store.blobs import BlobStore, open_store
from fmx_store.broker import Doorbell
from fmx_store.database import Database
from fmx_store.settings import Settings
from fmx_store.tracing import Traces, open_traces
from worker.devices import Hardware
from worker.shared import StopFlag
from worker.trainers import Trainers


@dataclass(frozen=True)
class Context:
    """The record and the stored files, and who asks for them.

    Attributes:
        name: how the record names this process.
        hardware: what trainings run on here.
        is_stopping: whether the worker ends.
        trainers: the processes that do its orders.
        in_pool: whether this is a process of the pool, not the worker's main one.
        traces: what is told of runs to whoever traces them.
    """

    settings: Settings
    db: Database
    blobs: BlobStore
    doorbell: Doorbell
    name: str
    hardware: Hardware
    is_stopping: Callable[[], bool]
    trainers: Trainers
    in_pool: bool = False
    traces: Traces = field(default_factory=Traces)

    def close(self) -> None:
        """Ends the trainer, publishes what is still to be announced, closes the connections."""
        self.trainers.close()
        self.doorbell.close()
        self.db.close()
        self.traces.close()


def open_context(
    app: Celery, settings: Settings, hardware: Hardware, stop_flag: StopFlag
) -> Context:
    """Opens what the calling process needs; it connects where it is first used."""
    doorbell = Doorbell(app)
    in_pool = not stop_flag.is_main()
    return Context(
        settings=settings,
        db=Database(settings.database, on_commit=doorbell.ring),
        blobs=open_store(settings),
        doorbell=doorbell,
        name=f"{socket.gethostname()}:{os.getpid()}",
        hardware=hardware,
        is_stopping=stop_flag.is_set,
        # The main process works only while the broker is away, in threads that end.
        trainers=Trainers(settings, keeps=in_pool),
        in_pool=in_pool,
        traces=open_traces("fmx-worker"),
    )


class PerProcess:
    """Opens a context in each process that asks, once."""

    def __init__(self, make: Callable[[], Context]) -> None:
        """Make is called in the process that needs a context."""
        self._make = make
        self._lock = threading.Lock()
        self._opened: tuple[int, Context] | None = None

    def get(self) -> Context:
        """The calling process's context."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = (os.getpid(), self._make())
            return self._opened[1]

    def close(self) -> None:
        """Closes the calling process's context, if it has one."""
        with self._lock:
            if self._opened is not None and self._opened[0] == os.getpid():
                self._opened[1].close()
            self._opened = None
