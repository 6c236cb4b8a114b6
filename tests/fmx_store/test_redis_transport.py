"""A Redis that goes while what it has brought is worked on."""

import logging
from pathlib import Path

import pytest
from kombu import Connection
from services import run_redis

from fmx_store.broker import Doorbell, make_celery
from fmx_store.settings import Settings

RUN = "A" * 26
_log = logging.getLogger(__name__)


def test_what_a_lost_connection_has_brought_is_acknowledged_in_vain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery does so between two connections; an error it does not expect ends the worker."""
    with run_redis() as server:
        app = make_celery(Settings(data_dir=tmp_path, broker_url=server.url))
        bell = Doorbell(app)
        bell.ring([(RUN, "cpu")])
        bell.close()
        connection: Connection = app.connection_for_read()
        message = connection.SimpleQueue("cpu").get(timeout=5)
    connection.collect()
    message.channel._disconnect_pools()  # as kombu does where it closes a channel in two goes
    message.ack_log_error(_log, connection.connection_errors)
    assert "the connection to the broker is closed" in caplog.text
