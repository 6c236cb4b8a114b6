"""The database may be gone: the server says so, trainings go on, and their metrics have no gap."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread

import httpx
from fleet import Fleet, running_fleet
from listening import Heard, listen, metrics_of, replay
from services import Column
from tcp_proxy import Proxy

from fmx_store import jobs

GONE_SECONDS = 12.0
EPOCHS = 320  # of 0.05 s at least: longer than the database is gone
ASK_SECONDS = 0.5


@contextmanager
def gone(fleet: Fleet, proxy: Proxy | None) -> Generator[None]:
    """Nobody listens; SQLite is locked by another process instead."""
    if proxy is not None:
        proxy.close()
        yield
        proxy.open()
        return
    path = fleet.data_dir / "fmx.sqlite3"
    with sqlite3.connect(path, timeout=30, isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    connection.close()


def test_the_database_may_be_gone(column: Column, database_proxy: Proxy | None) -> None:
    with running_fleet(column, lease_seconds=4) as fleet:
        fleet.start_server()
        worker = fleet.start_worker()
        job_id = fleet.submit(epochs=EPOCHS)
        fleet.wait_for_epochs(job_id)
        [trainer] = worker.trainers()
        heard: list[Heard] = []
        listener = Thread(target=lambda: heard.extend(listen(fleet.client, job_id)), daemon=True)
        listener.start()
        fleet.wait_until(lambda: heard, 10, "the stream's first event")
        with gone(fleet, database_proxy):
            answers = ask_for(fleet, job_id, GONE_SECONDS)
            assert worker.trainers() == [trainer], "it goes on"
        refused = [answer for answer in answers if not answer.is_success]
        if database_proxy is not None:
            assert len(refused) > 2
        for answer in refused:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.json()["code"] == "database_unavailable"
        assert fleet.submit(), "it is back"
        assert fleet.wait_for_all() == ["succeeded"] * 2
        run = jobs.list_runs(fleet.db, job_id)[0]
        assert (run.attempt, run.crashes) == (1, 0)
        assert fleet.epochs(job_id) == [list(range(1, EPOCHS + 1))]
        listener.join(timeout=20)
        assert heard[-1].name == "end", "one stream has outlasted it"
        assert replay(heard) == metrics_of(fleet.client, job_id)
        fleet.check()


def ask_for(fleet: Fleet, job_id: str, seconds: float) -> list[httpx.Response]:
    """What a client is told meanwhile; one that submits too, where that is refused at once."""
    answers: list[httpx.Response] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answers.append(fleet.client.get(f"/v1/jobs/{job_id}"))
        answers.append(fleet.client.get("/v1/jobs"))
        if not fleet.db.is_sqlite:  # whose writers wait for their turn
            answers.append(fleet.post())
        time.sleep(ASK_SECONDS)
    return answers
