"""A run ends once, however often it is announced and whatever becomes of the connections."""

import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from fleet import Fleet, queued_messages, running_fleet
from services import Column
from tcp_proxy import Proxy

COPIES = 5
CUTS, CUT_SECONDS = 8, 2.0
VISIBILITY_SECONDS = 5
# As `python -m worker`, with a broker that gives a message to another worker after 5 s.
IMPATIENT = f"""
from worker.app import app
app.conf.broker_transport_options["visibility_timeout"] = {VISIBILITY_SECONDS}
from worker.__main__ import main
main()
"""


def assert_one_attempt_each(fleet: Fleet) -> None:
    for job_id in fleet.accepted:
        assert [run["attempt"] for run in fleet.runs(job_id)] == [1] * len(fleet.runs(job_id))
    fleet.check()


def count_messages(fleet: Fleet) -> int:
    """The messages that wait."""
    if not fleet.settings.broker_url:
        return len(queued_messages(fleet.data_dir))
    with redis.Redis.from_url(fleet.settings.broker_url) as client:
        return client.llen("cpu")


def multiply_messages(fleet: Fleet) -> None:
    """Puts four more of each message into the queue."""
    if fleet.settings.broker_url:
        with redis.Redis.from_url(fleet.settings.broker_url) as client:
            for message in client.lrange("cpu", 0, -1):
                client.lpush("cpu", *[message] * (COPIES - 1))
        return
    for path in queued_messages(fleet.data_dir):
        stamp = path.name.partition("_")[0]
        for _ in range(COPIES - 1):
            shutil.copyfile(path, path.with_name(f"{stamp}_{uuid.uuid4()}.cpu.msg"))


def test_every_message_five_times_makes_one_attempt_each(fleet: Fleet) -> None:
    fleet.start_server()
    for _ in range(4):
        fleet.submit(epochs=20)
    fleet.wait_until(lambda: count_messages(fleet) == 4, 10, "the messages")
    multiply_messages(fleet)
    assert count_messages(fleet) == 4 * COPIES
    for _ in range(2):
        fleet.start_worker()
    assert fleet.wait_for_all() == ["succeeded"] * 4
    assert_one_attempt_each(fleet)


def test_a_broker_that_is_lost_every_two_seconds_makes_one_attempt_each(
    column: Column, broker_proxy: Proxy | None
) -> None:
    with running_fleet(column) as fleet:
        fleet.start_server()
        fleet.start_worker(worker_concurrency=2)
        lose = breaker(fleet.settings.broker_dir, broker_proxy)
        for number in range(CUTS):
            fleet.submit(epochs=60 if number % 2 else 10)
            time.sleep(CUT_SECONDS)
            lose()
        assert fleet.wait_for_all() == ["succeeded"] * CUTS
        assert_one_attempt_each(fleet)


def breaker(folder: Path, proxy: Proxy | None) -> Callable[[], None]:
    """Breaks all connections to Redis; where there are none, takes the messages away."""
    return proxy.cut if proxy is not None else lambda: shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.services
def test_messages_that_are_delivered_again_make_one_attempt_each(engines_column: Column) -> None:
    with running_fleet(engines_column) as fleet:
        fleet.start_server()
        for _ in range(2):
            fleet.start_worker(command=("-c", IMPATIENT))
        for _ in range(2):
            fleet.submit(epochs=240)
        assert fleet.wait_for_all() == ["succeeded"] * 2
        assert_one_attempt_each(fleet)
