"""Celery's own tools, which ask workers over Redis."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import redis
from services import ROOT, Column, free_port
from workers import Record, open_record, run_worker, wait_until

from fmx_store.inbound import WORK_TASK
from fmx_store.states import State

LONG = 2000

pytestmark = pytest.mark.services


@pytest.fixture
def over_redis(embedded_column: Column, redis_url: str) -> Generator[Record]:
    """A record whose broker is Redis."""
    environment = {**embedded_column.environment, "FMX_BROKER_URL": redis_url}
    with open_record(Column("engines", environment)) as record:
        yield record


def celery(record: Record, *arguments: str) -> list[str]:
    del record
    return [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]


def inspect(record: Record, question: str) -> dict[str, Any]:
    """What each worker answers to a question."""
    done = subprocess.run(
        celery(record, "inspect", question, "--json", "--timeout", "10"),
        cwd=ROOT,
        env=record.column.process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def only(answers: dict[str, Any]) -> Any:
    ((name, answer),) = answers.items()
    assert name.startswith("fmx-")
    return answer


def test_inspect_sees_what_a_worker_does(over_redis: Record) -> None:
    record = over_redis
    with run_worker(record):
        assert only(inspect(record, "ping")) == {"ok": "pong"}
        assert only(inspect(record, "active")) == []
        assert only(inspect(record, "registered")) == [WORK_TASK]
        assert {q["name"] for q in only(inspect(record, "active_queues"))} == {"cpu"}
        job_id = record.submit(epochs=LONG)
        run = record.wait_for_epochs(job_id)
        (task,) = only(inspect(record, "active"))
        assert (task["name"], task["args"]) == (WORK_TASK, [run.id])
        stats = only(inspect(record, "stats"))
        assert stats["pool"]["max-concurrency"] == 1
        assert stats["total"] == {WORK_TASK: 1}
        assert record.run(job_id).state is State.RUNNING


def test_commands_are_not_obeyed(over_redis: Record) -> None:
    """Whoever reaches the broker may ask, and not give orders."""
    record = over_redis
    with run_worker(record) as worker:
        for command in (["shutdown"], ["pool_shrink", "1"], ["cancel_consumer", "cpu"]):
            subprocess.run(
                celery(record, "control", "--timeout", "1", *command),
                cwd=ROOT,
                env=record.column.process_environment(),
                capture_output=True,
                timeout=60,
                check=False,
            )
        assert worker.process.poll() is None
        assert record.wait_for_end(record.submit()).state is State.SUCCEEDED


def test_junk_in_the_broadcasts_ends_no_worker(over_redis: Record) -> None:
    record = over_redis
    client = redis.Redis.from_url(record.settings.broker_url)
    with run_worker(record) as worker:
        channel = "/0.celery.pidbox"
        for junk in (b"{", b"\xff", b"[]", b"7", b"[" * 100_000, b'{"body": 1}', b"null"):
            assert client.publish(channel, junk) == 1, "the worker listens there"
        assert only(inspect(record, "ping")) == {"ok": "pong"}
        assert worker.process.poll() is None
    client.close()


@contextmanager
def flower(record: Record) -> Generator[httpx.Client]:
    """Flower, watching this record's workers."""
    port = free_port()
    environment = {**record.column.process_environment(), "FLOWER_UNAUTHENTICATED_API": "true"}
    process = subprocess.Popen(
        celery(record, "flower", f"--port={port}", "--address=127.0.0.1"),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until(lambda: answers(client), 60, "flower")
            yield client
    finally:
        process.terminate()
        process.wait(20)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthcheck").is_success
    except httpx.TransportError:
        return False


def test_flower_shows_workers_and_tasks(over_redis: Record) -> None:
    record = over_redis
    with run_worker(record), flower(record) as client:

        def workers() -> list[dict[str, Any]]:
            return client.get("/workers", params={"json": 1}).json()["data"]

        (worker,) = wait_until(workers, 30, "the worker in Flower")
        assert worker["status"] is True
        job_id = record.submit()
        run = record.run(job_id)
        assert record.wait_for_end(job_id).state is State.SUCCEEDED

        def finished() -> list[dict[str, Any]]:
            tasks = client.get("/api/tasks").json().values()
            return [task for task in tasks if task["state"] == "SUCCESS"]

        tasks = wait_until(finished, 30, "the task in Flower")
        assert {task["name"] for task in tasks} == {WORK_TASK}
        assert any(run.id in task["args"] for task in tasks)
