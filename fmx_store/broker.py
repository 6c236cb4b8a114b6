"""The queue: a doorbell that carries ids. What is done next is decided by a claim in the record.

Embedded, messages are files in the data folder; with FMX_BROKER_URL they go over Redis. Losing
one delays a run until it is announced again; getting one twice does nothing.
"""

import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, cast

from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps, loads

from fmx_store.database import Ring
from fmx_store.inbound import NOT_JSON, CheckedDelivery, make_announcement
from fmx_store.lifecycle import CPU_QUEUE, GPU_QUEUE
from fmx_store.settings import Settings

QUEUES = (CPU_QUEUE, GPU_QUEUE)
# Each message makes a worker work until nothing is due. More of them than the largest worker has
# places say nothing new, and cost: a folder of a hundred thousand files is slow to read.
FULL_QUEUE = 256
POLL_SECONDS = 0.05  # embedded: between two looks into the folder
DRAIN_SECONDS = 0.3  # embedded: a worker that waits for messages looks at its stop flag so often
CLOSE_SECONDS = 5.0
EMBEDDED_SCHEME = "fmx-files"

_log = logging.getLogger(__name__)


class _Channel(filesystem.Channel):
    """Kombu's file channel, publishing and taking by rename within the broker's folder.

    So no reader takes half a message and no two take the same one. Kombu's own takes them by way
    of the system's temporary folder, which may be another file system, where a move is a copy.
    """

    def _put(self, queue: str, payload: Any, **_options: Any) -> None:
        folder = Path(cast("str", self.data_folder_out))
        hidden = folder / f".{uuid.uuid4()}"
        try:
            hidden.write_bytes(str_to_bytes(dumps(payload)))
            # Kombu reads in the order of names; the record orders by priority and age anyway.
            hidden.rename(folder / f"{time.time_ns():020d}_{uuid.uuid4()}.{queue}.msg")
        except OSError as error:
            hidden.unlink(missing_ok=True)
            raise ChannelError(f"no message can be left in {folder}: {error}") from error

    def _get(self, queue: str) -> Any:
        folder, taken = Path(cast("str", self.data_folder_in)), Path(str(self.processed_folder))
        for name in _names(folder):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            try:
                mine = (folder / name).rename(taken / name)
                payload = mine.read_bytes()
                mine.unlink()
            except OSError:
                continue  # another worker was faster
            try:
                return loads(bytes_to_str(payload))
            except NOT_JSON:
                _log.warning("dropped a message that is no JSON: %s", name)
        raise Empty


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - a queue may be long
    except OSError:
        return []  # lost, or spoilt; the record announces again, and who publishes finds out


class Transport(CheckedDelivery, filesystem.Transport):
    """The embedded broker's transport."""

    Channel = _Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> Any:
        """Waits for messages; a worker that waits looks often enough whether it should end."""
        longest = DRAIN_SECONDS if timeout is None else min(timeout, DRAIN_SECONDS)
        return super().drain_events(connection, timeout=longest)


TRANSPORT_ALIASES[EMBEDDED_SCHEME] = f"{__name__}:Transport"
for _scheme in ("redis", "rediss"):
    TRANSPORT_ALIASES[_scheme] = "fmx_store.redis_transport:Transport"


def make_celery(settings: Settings) -> Celery:
    """The Celery app of server and worker; it connects to nothing yet."""
    app = Celery("fmx")
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the record announces the run again
        task_default_queue=CPU_QUEUE,
        # The nameless exchange delivers by the queue's name: there are no bindings to declare,
        # to lose, or, embedded, to read from a file that another process is writing.
        task_default_exchange="",
        task_queues=[Queue(name, Exchange(""), routing_key=name) for name in QUEUES],
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        # Celery's tools ask over Redis; the embedded broker has no broadcasts.
        worker_enable_remote_control=bool(settings.broker_url),
        worker_send_task_events=bool(settings.broker_url),
        worker_cancel_long_running_tasks_on_connection_loss=False,
        enable_utc=True,
        **_connection(settings),
    )
    return app


def _connection(settings: Settings) -> dict[str, Any]:
    if settings.broker_url:
        bound = settings.publish_timeout_seconds
        return {
            "broker_url": settings.broker_url,
            "broker_connection_timeout": bound,
            "broker_transport_options": {
                "socket_timeout": bound,
                "socket_connect_timeout": bound,
                "visibility_timeout": 3600,
            },
        }
    folders = {
        "data_folder_in": settings.broker_dir / "messages",
        "data_folder_out": settings.broker_dir / "messages",
        "processed_folder": settings.broker_dir / "taken",
        "control_folder": settings.broker_dir / "control",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {
        "broker_url": f"{EMBEDDED_SCHEME}://localhost//",
        "broker_transport_options": {
            **{name: str(folder) for name, folder in folders.items()},
            "control_folder": folders["control_folder"],
            "polling_interval": POLL_SECONDS,
        },
    }


@dataclass(frozen=True)
class _Order:
    """Runs to announce; a reminder only as far as messages were lost."""

    rings: Sequence[Ring]
    reminds: bool


class Doorbell:
    """Publishes messages from a thread of its own: whoever rings never waits for the broker.

    What the broker does not take is dropped with all that waits behind it, since each would wait
    for the same silence; the record announces it again.
    """

    def __init__(self, app: Celery) -> None:
        """The thread starts with the first ring."""
        self._app = app
        self._rings: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.error: str | None = None  # what the broker last answered, None where it took a message

    def ring(self, rings: Iterable[Ring]) -> None:
        """Announces runs, soon."""
        self._enqueue(_Order(list(rings), reminds=False))

    def remind(self, rings: Iterable[Ring]) -> None:
        """Announces again those runs, of all that are due, that the broker holds no message for.

        Any message makes a worker claim what is most urgent, so it is their number that counts;
        runs that wait for long do not fill the broker.
        """
        self._enqueue(_Order(list(rings), reminds=True))

    def close(self) -> None:
        """Waits a moment for what is still to be published."""
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._rings.put(None)
        if thread is not None:
            thread.join(timeout=CLOSE_SECONDS)

    def _enqueue(self, order: _Order) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()
            self._rings.put(order)

    def _run(self) -> None:
        while (order := self._rings.get()) is not None:
            try:
                self._publish(order)
                self.error = None
            except Exception as error:  # noqa: BLE001 - whatever a broker's client may raise
                self.error = f"{type(error).__name__}: {error}"
                _log.warning("the broker takes no messages: %s", self.error)
                if not self._drop_waiting():
                    return

    def _publish(self, order: _Order) -> None:
        by_queue: dict[str, list[str]] = {}
        for run_id, queue_name in order.rings:
            by_queue.setdefault(queue_name, []).append(run_id)
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=connection.connect_timeout)
            for queue_name, run_ids in by_queue.items():
                num_waiting = count_messages(connection, queue_name)
                room = max(0, FULL_QUEUE - num_waiting)
                missing = run_ids[num_waiting:] if order.reminds else run_ids
                put_messages(connection, queue_name, missing[:room])

    def _drop_waiting(self) -> bool:
        """Empties the queue of orders; False where the end was among them."""
        goes_on = True
        while True:
            try:
                goes_on = self._rings.get_nowait() is not None and goes_on
            except Empty:
                return goes_on


def count_messages(connection: Connection, queue_name: str) -> int:
    """The messages that wait in a queue, without those that a worker has taken."""
    channel: Any = connection.default_channel
    return channel._size(queue_name)  # noqa: SLF001 - declaring would make the queue, this only looks


def put_messages(connection: Connection, queue_name: str, run_ids: Sequence[str]) -> None:
    """Announces runs, without what Celery does for each message of any task."""
    channel: Any = connection.default_channel
    for run_id in run_ids:
        channel._put(queue_name, make_announcement(run_id, queue_name))  # noqa: SLF001 - as in its publish, by the nameless exchange


def check_broker(app: Celery, settings: Settings) -> None:
    """Raises OSError, or what the broker's client raises, where it does not answer in time."""
    if not settings.broker_url:
        probe = settings.broker_dir / "messages" / f".{uuid.uuid4()}"
        probe.touch()
        probe.unlink()
        return
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=settings.publish_timeout_seconds)
