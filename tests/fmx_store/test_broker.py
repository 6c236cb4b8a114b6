"""The doorbell and the two brokers behind it."""

import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis
from celery import Celery
from kombu import Connection
from services import Column, free_port, run_redis

from fmx_store import broker
from fmx_store.broker import (
    QUEUES,
    Doorbell,
    check_broker,
    count_messages,
    make_celery,
)
from fmx_store.database import Ring
from fmx_store.inbound import WORK_TASK
from fmx_store.settings import Settings

ID_A, ID_B = "A" * 26, "B" * 26
BOUND = 0.4  # seconds, of an exchange with a broker


def embedded(folder: Path) -> Settings:
    return Settings(data_dir=folder)


def over_redis(folder: Path, url: str) -> Settings:
    return Settings(data_dir=folder, broker_url=url, publish_timeout_seconds=BOUND)


def rings_of(first: int, number: int, queue: str = "cpu") -> list[Ring]:
    return [(f"{n:026d}", queue) for n in range(first, first + number)]


@contextmanager
def connected(app: Celery) -> Generator[Connection]:
    with app.connection_for_read() as connection:
        yield connection


def take_all(app: Celery, queue: str, patience_seconds: float = 1.0) -> list[str]:
    """The ids in a queue, taken until none has come for a while."""
    taken: list[str] = []
    with connected(app) as connection, connection.SimpleQueue(queue, no_ack=True) as messages:
        while True:
            try:
                message = messages.get(timeout=patience_seconds)
            except messages.Empty:
                return taken
            [run_id] = message.payload[0]
            assert message.headers["task"] == WORK_TASK
            taken.append(run_id)


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def app(column: Column) -> Celery:
    """The Celery app on each broker."""
    return make_celery(column.settings())


def test_a_ring_becomes_a_message_with_the_id_and_nothing_else(app: Celery) -> None:
    bell = Doorbell(app)
    bell.ring([(ID_A, "cpu"), (ID_B, "gpu")])
    bell.close()
    assert bell.error is None
    for queue, run_id in (("cpu", ID_A), ("gpu", ID_B)):
        with connected(app) as connection:
            assert count_messages(connection, queue) == 1
            with connection.SimpleQueue(queue, no_ack=True) as messages:
                message = messages.get(timeout=5)
        assert message.payload == [[run_id], {}, message.payload[2]]
        assert not any(message.payload[2].values())
        assert message.content_type == "application/json"
    assert {queue.name for queue in app.conf.task_queues} == set(QUEUES)


def test_messages_that_wait_are_counted(app: Celery) -> None:
    bell = Doorbell(app)
    with connected(app) as connection:
        assert count_messages(connection, "cpu") == 0
        bell.ring([*rings_of(0, 3), *rings_of(3, 2, "gpu")])
        bell.close()
        assert (count_messages(connection, "cpu"), count_messages(connection, "gpu")) == (3, 2)
    assert take_all(app, "cpu", 0.2) == [run_id for run_id, _ in rings_of(0, 3)]
    with connected(app) as connection:
        assert count_messages(connection, "cpu") == 0


def test_a_reminder_replaces_only_what_was_lost(app: Celery) -> None:
    bell = Doorbell(app)
    waiting = [*rings_of(0, 4), *rings_of(4, 2, "gpu")]
    bell.ring(rings_of(0, 3))
    for _ in range(5):
        bell.remind(waiting)
    bell.close()
    assert len(take_all(app, "cpu", 0.2)) == 4
    assert len(take_all(app, "gpu", 0.2)) == 2
    bell.remind(waiting)
    bell.close()
    assert take_all(app, "cpu", 0.2) == [run_id for run_id, _ in rings_of(0, 4)]


def test_a_full_queue_takes_no_more(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "FULL_QUEUE", 5)
    bell = Doorbell(app)
    bell.ring([*rings_of(0, 4), *rings_of(4, 1, "gpu")])
    bell.ring(rings_of(5, 3))
    bell.remind(rings_of(0, 8))
    bell.close()
    assert take_all(app, "cpu", 0.2) == [run_id for run_id, _ in [*rings_of(0, 4), *rings_of(5, 1)]]
    assert len(take_all(app, "gpu", 0.2)) == 1
    bell.remind(rings_of(0, 8))
    bell.close()
    assert len(take_all(app, "cpu", 0.2)) == 5
    assert bell.error is None


def test_a_closed_doorbell_rings_again(app: Celery) -> None:
    bell = Doorbell(app)
    bell.close()
    for number in range(3):
        bell.ring(rings_of(number, 1))
        bell.close()
    assert len(take_all(app, "cpu", 0.2)) == 3
    assert not any(thread.name == "doorbell" for thread in threading.enumerate())


def test_a_broker_that_works_passes_the_check(column: Column, app: Celery) -> None:
    check_broker(app, column.settings())


def publish(data_dir: Path, url: str, first: int, number: int) -> None:
    """A process that rings."""
    bell = Doorbell(make_celery(Settings(data_dir=data_dir, broker_url=url)))
    with mock.patch.object(broker, "FULL_QUEUE", 10_000):
        for start in range(first, first + number, 10):
            bell.ring(rings_of(start, 10))
        wait_until(bell._rings.empty, 60)
        bell.close()
    assert bell.error is None


def consume(data_dir: Path, url: str, results: Any) -> None:
    """A process that takes."""
    results.put(take_all(make_celery(Settings(data_dir=data_dir, broker_url=url)), "cpu", 3.0))


@pytest.mark.parametrize("number", [1000])
def test_none_of_many_messages_is_lost_torn_or_doubled(column: Column, number: int) -> None:
    """Two processes publish while two others take."""
    number = number if column.name == "embedded" else 200
    url = column.environment.get("FMX_BROKER_URL", "")
    spawn = get_context("spawn")
    results: Any = spawn.Queue()
    half = number // 2
    processes = [
        spawn.Process(target=publish, args=(column.data_dir, url, start, half))
        for start in (0, half)
    ]
    processes += [
        spawn.Process(target=consume, args=(column.data_dir, url, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    parts = [results.get(timeout=90) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    taken = Counter(run_id for part in parts for run_id in part)
    assert taken == Counter(run_id for run_id, _ in rings_of(0, number))
    if column.name == "embedded":
        folder = column.data_dir / "broker"
        assert [*(folder / "messages").iterdir(), *(folder / "taken").iterdir()] == []


def test_a_message_that_is_no_json_is_dropped_and_the_next_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = embedded(tmp_path)
    app = make_celery(settings)
    folder = settings.broker_dir / "messages"
    (folder / "000.cpu.msg").write_bytes(b"\x80\x04no json")
    (folder / "001.cpu.msg").write_text('{"half": ')
    (folder / ".hidden.cpu.msg").write_text("a message that is being written")
    Doorbell(app).ring(rings_of(0, 1))
    wait_until(lambda: len(list(folder.iterdir())) == 4)
    assert take_all(app, "cpu", 0.2) == [rings_of(0, 1)[0][0]]
    assert caplog.text.count("no JSON") == 2
    assert [path.name for path in folder.iterdir()] == [".hidden.cpu.msg"]


def test_a_reader_sees_whole_messages_only(tmp_path: Path) -> None:
    """Whoever looks while messages are written finds each one complete."""
    settings = embedded(tmp_path)
    folder = settings.broker_dir / "messages"
    bell = Doorbell(make_celery(settings))
    bell.ring(rings_of(0, 200))
    seen: set[str] = set()
    deadline = time.monotonic() + 20
    while len(seen) < 200:
        assert time.monotonic() < deadline
        for path in folder.iterdir():
            if not path.name.startswith("."):
                assert json.loads(path.read_bytes())["headers"]
                seen.add(path.name)
    bell.close()


def test_a_folder_that_is_gone_shows_and_costs_the_caller_nothing(tmp_path: Path) -> None:
    settings = embedded(tmp_path)
    app = make_celery(settings)
    shutil.rmtree(settings.broker_dir / "messages")
    with pytest.raises(OSError, match="messages"):
        check_broker(app, settings)
    bell = Doorbell(app)
    bell.ring(rings_of(0, 1))
    wait_until(lambda: bell.error is not None)
    assert "messages" in str(bell.error)
    (settings.broker_dir / "messages").mkdir()
    bell.ring(rings_of(1, 1))
    wait_until(lambda: bell.error is None)
    bell.close()


@contextmanager
def silent_server() -> Generator[str]:
    """A broker that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        listener.settimeout(0.05)
        stop, held = threading.Event(), list[socket.socket]()

        def accept() -> None:
            while not stop.is_set():
                try:
                    held.append(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        finally:
            stop.set()
            thread.join()
            for connection in held:
                connection.close()


@contextmanager
def closed_port() -> Generator[str]:
    """A broker that is down."""
    yield f"redis://127.0.0.1:{free_port()}/0"


@pytest.mark.parametrize("away", [silent_server, closed_port])
def test_whoever_rings_never_waits_for_a_broker_that_is_away(tmp_path: Path, away: Any) -> None:
    with away() as url:
        settings = over_redis(tmp_path, url)
        app = make_celery(settings)
        bell = Doorbell(app)
        started = time.monotonic()
        for number in range(50):
            bell.ring(rings_of(number, 20))
        assert time.monotonic() - started < BOUND / 2
        wait_until(lambda: bell.error is not None, 10 * BOUND)
        assert "Error" in str(bell.error)
        # What waited behind it does not wait for the same silence, each for itself.
        wait_until(bell._rings.empty, 10 * BOUND)
        started = time.monotonic()
        bell.remind(rings_of(0, 1))
        bell.close()
        assert time.monotonic() - started < broker.CLOSE_SECONDS
        assert bell.error is not None
        started = time.monotonic()
        with pytest.raises(Exception, match=r"Timeout|refused"):
            check_broker(app, settings)
        assert time.monotonic() - started < 5 * BOUND + 2


@pytest.mark.services
def test_a_broker_that_comes_back_is_used_again(tmp_path: Path) -> None:
    port = free_port()
    app = make_celery(over_redis(tmp_path, f"redis://127.0.0.1:{port}/0"))
    bell = Doorbell(app)
    with run_redis(port):
        bell.ring(rings_of(0, 1))
        wait_until(lambda: bell._rings.empty() and bell.error is None)
        assert take_all(app, "cpu", 0.3) == [rings_of(0, 1)[0][0]]
    bell.ring(rings_of(1, 1))
    wait_until(lambda: bell.error is not None)
    with run_redis(port):
        bell.ring(rings_of(2, 1))
        wait_until(lambda: bell.error is None)
        bell.close()
        assert take_all(app, "cpu", 0.3) == [rings_of(2, 1)[0][0]]


@pytest.mark.services
def test_a_connection_that_was_cut_costs_no_message(tmp_path: Path, redis_url: str) -> None:
    """As a firewall does with one that was idle for long."""
    app = make_celery(over_redis(tmp_path, redis_url))
    bell = Doorbell(app)
    with redis.Redis.from_url(redis_url) as admin:
        for number in range(4):
            bell.ring(rings_of(number, 1))
            wait_until(lambda: admin.llen("cpu") == number + 1)  # noqa: B023 - called at once
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert bell.error is None
    bell.close()
    assert len(take_all(app, "cpu", 0.2)) == 4
