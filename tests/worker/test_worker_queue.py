"""What a worker does with jobs, messages and a broker that is away."""

import pickle  # noqa: TID251 - what a forger may send
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from services import Column, free_port, run_redis
from workers import (
    CRASHES,
    CRASHES_ONCE,
    DEAF,
    Record,
    command_of,
    open_record,
    processes_of,
    run_worker,
    wait_until,
)

from fmx_store import jobs
from fmx_store.broker import count_messages
from fmx_store.inbound import WORK_TASK
from fmx_store.metrics import read_metrics
from fmx_store.states import Reason, State

LONG = 2000


def starts(record: Record, *job_ids: str) -> list[Any]:
    return [record.run(job_id).started_at for job_id in job_ids]


def test_jobs_run_by_priority_and_age_one_at_a_time(record: Record) -> None:
    first = record.submit(epochs=20)
    with run_worker(record):
        record.wait_for_epochs(first)
        late = record.submit(priority=2)
        even_later = record.submit(priority=2)
        urgent = record.submit(priority=9)
        assert record.job(late).state is State.QUEUED
        for job_id in (first, late, even_later, urgent):
            assert record.wait_for_end(job_id).state is State.SUCCEEDED
    order = [first, urgent, late, even_later]
    assert starts(record, *order) == sorted(starts(record, *order))
    ends = [record.run(job_id).finished_at for job_id in order]
    assert all(end <= start for end, start in zip(ends, starts(record, *order[1:]), strict=False))


def test_two_workers_share_the_runs_of_a_job(record: Record) -> None:
    job_id = record.submit(seeds=6, epochs=6)
    with run_worker(record), run_worker(record, worker_concurrency=2):
        assert record.wait_for_end(job_id).state is State.SUCCEEDED
    runs = record.runs(job_id)
    assert [run.attempt for run in runs] == [1] * 7
    assert [len(read_metrics(record.db, run.id)) for run in runs[:-1]] == [6] * 6
    job = record.job(job_id)
    assert job.results is not None
    rows = job.results["tables"][0]["rows"]
    assert rows == [[f"seed-{n}", 6, f"model.onnx of seed {n}"] for n in range(6)]


def test_a_running_job_is_cancelled_and_leaves_no_process(record: Record) -> None:
    job_id = record.submit(ml=DEAF)
    with run_worker(record) as worker:

        def is_deaf() -> bool:
            found = processes_of(record.column.data_dir)
            return any(command_of(pid).startswith("sleep") for pid in found)

        wait_until(is_deaf, 10, "the grandchild", worker)
        cancelled_at = time.monotonic()
        jobs.cancel(record.db, job_id)
        assert record.wait_for_end(job_id).state is State.CANCELLED
        assert time.monotonic() - cancelled_at < 5
        assert worker.trainers() == []
        assert not is_deaf()
        assert record.wait_for_end(record.submit()).state is State.SUCCEEDED, "it takes the next"
    run = record.run(job_id)
    assert (run.state, run.reason) == (State.CANCELLED, Reason.CANCELLED_BY_USER)


def test_a_trainer_that_dies_once_is_run_again(record: Record) -> None:
    job_id = record.submit(ml=CRASHES_ONCE, epochs=4)
    with run_worker(record):
        assert record.wait_for_end(job_id).state is State.SUCCEEDED
    run = record.run(job_id)
    assert (run.attempt, run.crashes) == (2, 1)
    assert [m.epoch for m in read_metrics(record.db, run.id)] == [1, 2, 3, 4]


def test_a_trainer_that_always_dies_fails_as_lost(embedded_record: Record) -> None:
    job_id = embedded_record.submit(ml=CRASHES)
    with run_worker(embedded_record):
        job = embedded_record.wait_for_end(job_id)
    run = embedded_record.run(job_id)
    assert (job.state, job.reason) == (State.FAILED, Reason.WORKER_LOST)
    assert (run.attempt, run.crashes, run.reason) == (3, 3, Reason.WORKER_LOST)
    assert run.error is not None
    assert "by signal 9" in run.error["message"]


def test_a_job_that_takes_too_long_fails_at_its_time_limit(embedded_record: Record) -> None:
    job_id = embedded_record.submit(epochs=LONG, time_limit_seconds=1)
    with run_worker(embedded_record) as worker:
        job = embedded_record.wait_for_end(job_id, timeout=10)
        assert worker.trainers() == []
    assert (job.state, job.reason) == (State.FAILED, Reason.TIME_LIMIT)
    assert len(read_metrics(embedded_record.db, embedded_record.run(job_id).id)) > 3


def test_a_cpu_worker_leaves_cuda_runs_to_others(embedded_record: Record) -> None:
    cuda = embedded_record.submit(spec={"device": "cuda"}, priority=9)
    with run_worker(embedded_record):
        assert embedded_record.wait_for_end(embedded_record.submit()).state is State.SUCCEEDED
    assert embedded_record.run(cuda).attempt == 0
    with run_worker(embedded_record, worker_device="cuda"):
        assert embedded_record.wait_for_end(cuda).state is State.SUCCEEDED


def put_raw(record: Record, payload: bytes) -> None:
    """Leaves bytes in the cpu queue, as no honest client would."""
    if record.settings.broker_url:
        with redis.Redis.from_url(record.settings.broker_url) as client:
            client.lpush("cpu", payload)
    else:
        folder = record.settings.broker_dir / "messages"
        (folder / f"{time.time_ns():020d}_forged.cpu.msg").write_bytes(payload)


def num_messages(record: Record) -> int:
    """Messages that wait in the cpu queue."""
    with record.doorbell._app.connection_for_read() as connection:
        return count_messages(connection, "cpu")


RAW = {
    "no JSON": b"\x80\x04junk",
    "no text": b"\xff\xfe",
    "nothing": b"",
    "very deep": b"[" * 100_000,
    "a number too large": b"1" * 10_000,
    "not an object": b"[1, 2]",
    "an empty object": b"{}",
    "null": b"null",
    "no properties": b'{"body": "", "headers": {}}',
    "a body that is no base64": (
        b'{"body": "%%%", "content-type": "application/json", "content-encoding": "utf-8",'
        b' "headers": {"task": "fmx.work", "id": "1"}, "properties": {"delivery_tag": "t",'
        b' "body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": "cpu"}}}'
    ),
    "no delivery tag": (
        b'{"body": "W10=", "content-type": "application/json", "content-encoding": "utf-8",'
        b' "headers": {"task": "fmx.work", "id": "1"}, "properties": {"body_encoding": "base64"}}'
    ),
}


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.trace,)


def test_forged_messages_change_nothing(record: Record, tmp_path: Path) -> None:
    app = record.doorbell._app
    wrong: list[dict[str, Any]] = [
        {"args": []},
        {"args": [1]},
        {"args": [None, None]},
        {"args": ["../../etc/passwd"]},
        {"args": ["0" * 26]},
        {"args": [{"run": "x"}]},
        {"args": ["x" * 100_000]},
        {"args": [], "kwargs": {"message": "0" * 26}},
    ]
    with run_worker(record) as worker:
        for message in wrong:
            app.send_task(WORK_TASK, queue="cpu", **message)
        app.send_task("os.system", args=["true"], queue="cpu")
        app.send_task("celery.backend_cleanup", queue="cpu")
        with app.connection_for_write() as connection:
            producer = connection.Producer()
            trap = pickle.dumps(((Trap(tmp_path / "trace"),), {}, {}))
            producer.publish(
                trap,
                routing_key="cpu",
                content_type="application/x-python-serialize",
                content_encoding="binary",
                headers={"task": WORK_TASK, "id": "1"},
            )
        for payload in RAW.values():
            put_raw(record, payload)
        wait_until(lambda: num_messages(record) == 0, 10, "an empty queue", worker)
        job_id = record.submit()
        assert record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()
        assert worker.process.poll() is None
        assert not (tmp_path / "trace").exists()
    assert [run.attempt for run in record.runs(job_id)] == [1, 1]
    assert jobs.list_jobs(record.db).items[0].id == job_id


@pytest.mark.services
def test_runs_go_on_without_redis_and_with_it_again(engines_column: Column) -> None:
    port = free_port()
    engines_column.environment["FMX_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
    with ExitStack() as stack:
        record = stack.enter_context(open_record(engines_column))
        with run_redis(port):
            worker = stack.enter_context(run_worker(record, dispatch_seconds=0.5))
        job_id = record.submit(seeds=2)
        assert record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()
        with run_redis(port):
            again = record.submit()
            assert record.wait_for_end(again).state is State.SUCCEEDED, worker.text()
        assert [run.attempt for run in record.runs(job_id)] == [1, 1, 1]


@pytest.mark.services
@pytest.mark.parametrize("broker", ["refusing", "silent"])
def test_a_worker_starts_and_ends_without_redis(engines_column: Column, broker: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        if broker == "silent":
            server.listen()  # the kernel accepts, and nobody ever answers
        port = server.getsockname()[1]
        engines_column.environment["FMX_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
        record = stack.enter_context(open_record(engines_column))
        jobs_at_once = [record.submit(epochs=20), record.submit(epochs=20)]
        worker = stack.enter_context(
            run_worker(record, wait=False, dispatch_seconds=0.5, worker_concurrency=2)
        )
        for job_id in jobs_at_once:
            assert record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()
        ends: list[Any] = [record.run(job_id).finished_at for job_id in jobs_at_once]
        assert max(starts(record, *jobs_at_once)) < min(ends)

        job_id = record.submit(epochs=LONG)
        record.wait_for_epochs(job_id)
        worker.send(signal.SIGTERM)
        worker.wait(6)
        run = record.run(job_id)
        assert (run.state, run.attempt, run.crashes) == (State.QUEUED, 1, 0)


@pytest.mark.services
def test_connections_to_redis_that_are_cut_stop_nothing(engines_column: Column) -> None:
    with open_record(engines_column) as record, run_worker(record) as worker:
        job_id = record.submit(epochs=50)
        record.wait_for_epochs(job_id)
        with redis.Redis.from_url(record.settings.broker_url) as client:
            for _ in range(6):
                client.client_kill_filter(_type="normal", skipme=True)
                time.sleep(0.3)
        again = record.submit()
        for each in (job_id, again):
            assert record.wait_for_end(each).state is State.SUCCEEDED, worker.text()
            assert [run.attempt for run in record.runs(each)] == [1, 1]


def test_runs_go_on_when_the_message_folder_is_lost(embedded_record: Record) -> None:
    with run_worker(embedded_record, dispatch_seconds=0.5) as worker:
        shutil.rmtree(embedded_record.settings.broker_dir)
        job_id = embedded_record.submit()
        assert embedded_record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()


@pytest.mark.services
def test_lost_messages_are_announced_again(engines_column: Column) -> None:
    with open_record(engines_column) as record, run_worker(record, dispatch_seconds=0.5) as worker:
        with redis.Redis.from_url(record.settings.broker_url) as client:
            job_id = jobs_submit_without_ring(record)
            client.flushall()
        assert record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()


def jobs_submit_without_ring(record: Record) -> str:
    """A job whose messages never went out."""
    record.db.on_commit = None
    try:
        return record.submit()
    finally:
        record.db.on_commit = record.doorbell.ring
