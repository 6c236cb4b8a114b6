"""The broker may be gone: submissions are accepted, and fast, and everything runs."""

import shutil
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import pytest
import redis
from fleet import Fleet, running_fleet
from services import Column
from tcp_proxy import Proxy

FAST_SECONDS = 2.0  # this machine is shared; a broker's own bound would be 0.5 s and more, each
JOBS = 5

Loss = Callable[[Fleet, Proxy | None], AbstractContextManager[None]]


@contextmanager
def flushed(fleet: Fleet, proxy: Proxy | None) -> Generator[None]:
    """What is queued goes, again and again."""
    del proxy
    flush(fleet)
    yield
    flush(fleet)


def flush(fleet: Fleet) -> None:
    if fleet.settings.broker_url:
        with redis.Redis.from_url(fleet.settings.broker_url) as client:
            client.flushall()
    else:
        shutil.rmtree(fleet.settings.broker_dir / "messages", ignore_errors=True)


@contextmanager
def down(fleet: Fleet, proxy: Proxy | None) -> Generator[None]:
    """Nobody listens; where messages are files, their folder can't be one."""
    if proxy is not None:
        proxy.close()
        yield
        proxy.open()
        return
    folder = fleet.settings.broker_dir / "messages"
    shutil.rmtree(folder)
    folder.touch()
    yield
    folder.unlink()
    folder.mkdir()


@contextmanager
def silent(_fleet: Fleet, proxy: Proxy | None) -> Generator[None]:
    """Somebody listens and never answers."""
    assert proxy is not None
    proxy.fall_silent()
    yield
    proxy.open()


@pytest.mark.parametrize("loss", [flushed, down, silent], ids=lambda loss: loss.__name__)
def test_the_broker_may_be_gone(column: Column, broker_proxy: Proxy | None, loss: Loss) -> None:
    if loss is silent and broker_proxy is None:
        pytest.skip("files do not fall silent")
    with running_fleet(column) as fleet:
        fleet.start_server()
        fleet.start_worker(worker_concurrency=2)
        before = fleet.submit()
        assert fleet.wait_for_end(before)["state"] == "succeeded"
        with loss(fleet, broker_proxy):
            for _ in range(JOBS):
                began = time.monotonic()
                fleet.submit()
                assert time.monotonic() - began < FAST_SECONDS
            assert fleet.wait_for_all() == ["succeeded"] * (1 + JOBS)
        fleet.submit()
        assert fleet.wait_for_all() == ["succeeded"] * (2 + JOBS), "and when it is back"
        assert set(fleet.answers) <= {200, 202, 304}
        fleet.check()


def test_what_the_broker_has_lost_is_announced_again(fleet: Fleet) -> None:
    """Nobody but the record knows of these jobs when the worker starts."""
    fleet.start_server()
    for _ in range(3):
        fleet.submit()
    time.sleep(0.5)  # until their messages are out
    flush(fleet)
    fleet.start_worker()
    assert fleet.wait_for_all(30) == ["succeeded"] * 3
    fleet.check()
