"""What is left of a run when its worker ends, in whatever way."""

import os
import signal
import time
from collections.abc import Sequence

import pytest
from workers import (
    DEAF,
    Record,
    Worker,
    command_of,
    processes_of,
    run_worker,
    wait_until,
)

from fmx_store.states import State

LONG = 2000  # epochs: more than any test waits for


def end(worker: Worker, signals: Sequence[signal.Signals], *, group: bool) -> float:
    """Signals the worker one after the other; answers after how long its main process ended."""
    began = time.monotonic()
    for signum in signals:
        (worker.send_to_group if group else worker.send)(signum)
        time.sleep(0.3)
    worker.wait()
    return time.monotonic() - began


def assert_handed_back(record: Record, job_id: str) -> None:
    run = record.run(job_id)
    assert (run.state, run.attempt, run.crashes, run.worker) == (State.QUEUED, 1, 0, None)
    assert list(record.settings.scratch_dir.iterdir()) == []


def find_sleeping(record: Record) -> list[int]:
    """The process that a deaf trainer has started; from then on it ignores SIGTERM."""
    return [p for p in processes_of(record.column.data_dir) if command_of(p).startswith("sleep")]


def assert_nothing_runs(record: Record, timeout: float) -> None:
    wait_until(lambda: not processes_of(record.column.data_dir), timeout, "the end of all")


def test_sigterm_hands_the_run_back_and_the_next_worker_takes_it_at_once(record: Record) -> None:
    job_id = record.submit(epochs=LONG)
    with run_worker(record) as worker:
        record.wait_for_epochs(job_id)
        seconds = end(worker, [signal.SIGTERM], group=False)
        assert seconds < 5, worker.text()
        assert_nothing_runs(record, 0.5)
    assert_handed_back(record, job_id)

    with run_worker(record, dispatch_seconds=3600):
        run = record.wait_for_epochs(job_id, timeout=5)
        assert (run.attempt, run.crashes) == (2, 0)


@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGINT, signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGQUIT,),
        (signal.SIGHUP,),
    ],
    ids=lambda signals: "-".join(s.name for s in signals),
)
def test_signals_to_the_whole_group_leave_no_process(
    embedded_record: Record, signals: Sequence[signal.Signals]
) -> None:
    job_id = embedded_record.submit(epochs=LONG)
    with run_worker(embedded_record) as worker:
        embedded_record.wait_for_epochs(job_id)
        assert end(worker, signals, group=True) < 6, worker.text()
        assert_nothing_runs(embedded_record, 2)
    assert_handed_back(embedded_record, job_id)


def test_a_trainer_that_ignores_sigterm_is_killed_when_its_worker_stops(
    embedded_record: Record,
) -> None:
    job_id = embedded_record.submit(ml=DEAF)
    with run_worker(embedded_record) as worker:
        wait_until(lambda: find_sleeping(embedded_record), 10, "the grandchild", worker)
        assert end(worker, [signal.SIGTERM], group=False) < 5, worker.text()
        assert_nothing_runs(embedded_record, 0.5)
    assert_handed_back(embedded_record, job_id)


def test_the_run_of_a_killed_worker_is_done_by_another(record: Record) -> None:
    job_id = record.submit(epochs=30)
    with run_worker(record) as worker:
        record.wait_for_epochs(job_id)
        worker.send_to_group(signal.SIGKILL)
        killed_at = time.monotonic()
        assert_nothing_runs(record, 2)
        with run_worker(record):
            job = record.wait_for_end(job_id)
            seconds = time.monotonic() - killed_at
    run = record.run(job_id)
    assert (job.state, run.state) == (State.SUCCEEDED, State.SUCCEEDED)
    assert (run.attempt, run.crashes) == (2, 1)
    assert run.summary is not None
    assert run.summary["attempt"] == 2
    assert seconds < 15


def test_a_frozen_trainer_dies_with_its_worker(embedded_record: Record) -> None:
    job_id = embedded_record.submit(epochs=LONG)
    with run_worker(embedded_record) as worker:
        embedded_record.wait_for_epochs(job_id)
        (trainer,) = worker.trainers()
        os.kill(trainer, signal.SIGSTOP)
        worker.send_to_group(signal.SIGKILL)
        assert_nothing_runs(embedded_record, 2)


def test_a_pool_whose_main_process_is_killed_hands_back_and_ends(embedded_record: Record) -> None:
    job_id = embedded_record.submit(epochs=LONG)
    with run_worker(embedded_record) as worker:
        embedded_record.wait_for_epochs(job_id)
        worker.send(signal.SIGKILL)
        assert_nothing_runs(embedded_record, 5)
    assert_handed_back(embedded_record, job_id)


def test_a_killed_pool_process_is_replaced_and_its_run_done(record: Record) -> None:
    job_id = record.submit(epochs=30)
    with run_worker(record) as worker:
        record.wait_for_epochs(job_id)
        (pool,) = worker.pool()
        (trainer,) = worker.trainers()
        os.kill(pool, signal.SIGKILL)
        wait_until(lambda: not command_of(trainer), 2, "the trainer's end")
        assert record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()
    run = record.run(job_id)
    assert (run.attempt, run.crashes) == (2, 1)


def test_scratch_left_by_a_killed_worker_is_swept(embedded_record: Record) -> None:
    job_id = embedded_record.submit(epochs=LONG)
    scratch = embedded_record.settings.scratch_dir
    with run_worker(embedded_record) as worker:
        embedded_record.wait_for_epochs(job_id)
        worker.send_to_group(signal.SIGKILL)
        assert_nothing_runs(embedded_record, 2)
    killed = embedded_record.run(job_id)
    assert [path.name for path in scratch.iterdir()] == [f"{killed.id}-1"]
    stranger = scratch / f"{'0' * 26}-1"
    stranger.mkdir()

    with run_worker(embedded_record) as worker:
        wait_until(lambda: embedded_record.run(job_id).attempt == 2, 10, "a new attempt", worker)
        embedded_record.wait_for_epochs(job_id)
        assert [path.name for path in scratch.iterdir()] == [f"{killed.id}-2"]
