"""The queue: a doorbell that carries ids. What is done next is decided by a claim in the record.

Embedded, messages are files in the data folder; with FMX_BROKER_URL they go over Redis. Losing
one delays a run until it is announced again; getting one twice does nothing.
"""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from celery import Celery
from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps

from fmx_store.database import Ring
from fmx_store.lifecycle import CPU_QUEUE
from fmx_store.settings import Settings

WORK_TASK = "fmx.work"
POLL_SECONDS = 0.05  # embedded: between two looks into the folder
EMBEDDED_SCHEME = "fmx-files"

_log = logging.getLogger(__name__)


class _Channel(filesystem.Channel):
    """Kombu's file channel, publishing by rename, so that no reader takes half a message."""

    def _put(self, queue: str, payload: Any, **_options: Any) -> None:
        folder = Path(cast("str", self.data_folder_out))
        hidden = folder / f".{uuid.uuid4()}"
        try:
            hidden.write_bytes(str_to_bytes(dumps(payload)))
            # Kombu reads in the order of names; the record orders by priority and age anyway.
            hidden.rename(folder / f"{time.time_ns():020d}_{uuid.uuid4()}.{queue}.msg")
        except OSError as error:
            raise ChannelError(f"no message can be left in {folder}: {error}") from error


class Transport(filesystem.Transport):
    """The embedded broker's transport."""

    Channel = _Channel


TRANSPORT_ALIASES[EMBEDDED_SCHEME] = f"{__name__}:Transport"


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
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
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
        "broker_url": f"{EMBEDDED_SCHEME}://",
        "broker_transport_options": {
            **{name: str(folder) for name, folder in folders.items()},
            "control_folder": folders["control_folder"],
            "polling_interval": POLL_SECONDS,
        },
    }


class Doorbell:
    """Publishes messages from a thread of its own: whoever rings never waits for the broker."""

    def __init__(self, app: Celery) -> None:
        """The thread starts with the first ring."""
        self._app = app
        self._rings: queue.SimpleQueue[Ring | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.error: str | None = None  # what the broker last answered, None where it took a message

    def ring(self, rings: Iterable[Ring]) -> None:
        """Announces runs, soon; what the broker does not take is announced again by the record."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()
        for item in rings:
            self._rings.put(item)

    def close(self) -> None:
        """Waits a moment for what is still to be published."""
        if self._thread is not None:
            self._rings.put(None)
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while (item := self._rings.get()) is not None:
            run_id, queue_name = item
            try:
                self._app.send_task(
                    WORK_TASK, args=[run_id], queue=queue_name, ignore_result=True, retry=False
                )
                self.error = None
            except Exception as error:  # noqa: BLE001 - whatever a broker's client may raise
                self.error = f"{type(error).__name__}: {error}"
                _log.warning("the broker did not take run %s: %s", run_id, self.error)


def check_broker(app: Celery, settings: Settings) -> None:
    """Raises OSError, or what the broker's client raises, where it does not answer in time."""
    if not settings.broker_url:
        probe = settings.broker_dir / "messages" / f".{uuid.uuid4()}"
        probe.touch()
        probe.unlink()
        return
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=settings.publish_timeout_seconds)
