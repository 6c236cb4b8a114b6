"""Trainers that are kept: warm before there is an order, used again, and never left behind."""

import os
import signal
from collections.abc import Generator

import pytest
from services import Column
from stages import Stage
from workers import (
    DOUBLES,
    Record,
    command_of,
    has_loaded,
    open_record,
    processes_of,
    run_worker,
    wait_until,
)

from fmx_store import jobs
from fmx_store.states import Reason, State
from fmx_store.tables import Run
from worker import trainers as trainers_module
from worker.supervisor import supervise
from worker.trainers import Trainers

DIVERGES = 11


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLES))


@pytest.fixture
def trainers(stage: Stage) -> Generator[Trainers]:
    """Trainers that are kept, one of them warm."""
    kept = Trainers(stage.record.settings, keeps=True)
    kept.warm_up()
    try:
        yield kept
    finally:
        kept.close()
        assert processes_of(stage.record.column.data_dir) == []


def pid_of(trainers: Trainers) -> int:
    """The trainer that waits."""
    assert trainers._idle is not None
    return trainers._idle.pid


def run_one(stage: Stage, trainers: Trainers, **request: object) -> Run:
    """Another job's training, before the collations of those before."""
    claim = stage.claim(priority=len(jobs.list_jobs(stage.record.db).items), **request)
    supervise(stage.context, [claim], trainers)
    return stage.run_of(claim)


@pytest.mark.usefixtures("doubles")
def test_one_trainer_does_order_after_order_each_with_its_own_files(
    stage: Stage, trainers: Trainers
) -> None:
    first = pid_of(trainers)
    runs = [run_one(stage, trainers, epochs=epochs) for epochs in (2, 3)]
    logs = [stage.files(run)["seed-0/log.txt"] for run in runs]
    assert [run.state for run in runs] == [State.SUCCEEDED] * 2
    assert pid_of(trainers) == first
    for run, log, epochs in zip(runs, logs, (2, 3), strict=True):
        told = [line.partition(" epoch ")[2].split()[:1] for line in log.splitlines()]
        assert [epoch for epoch in told if epoch] == [[f"{n}:"] for n in range(1, epochs + 1)]
        assert f"temporary files in {stage.record.settings.scratch_dir}/{run.id}-1/tmp" in log
        assert log.rstrip().endswith("INFO done")
    assert not list(stage.record.settings.scratch_dir.iterdir())


@pytest.mark.usefixtures("doubles")
def test_a_collation_is_done_by_the_same_trainer(stage: Stage, trainers: Trainers) -> None:
    first = pid_of(trainers)
    run = run_one(stage, trainers)
    supervise(stage.context, [stage.claim_again()], trainers)
    assert stage.record.job(run.job_id).state is State.SUCCEEDED
    assert pid_of(trainers) == first


@pytest.mark.usefixtures("doubles")
def test_a_trainer_that_has_failed_is_replaced(stage: Stage, trainers: Trainers) -> None:
    first = pid_of(trainers)
    failed = run_one(stage, trainers, ml=DIVERGES)
    assert (failed.state, failed.reason) == (State.FAILED, Reason.NAN_LOSS)
    assert command_of(first) == ""
    assert pid_of(trainers) != first
    assert run_one(stage, trainers).state is State.SUCCEEDED


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_trainer_that_ended_while_it_waited_is_no_crash(
    stage: Stage, trainers: Trainers, how: signal.Signals
) -> None:
    first = pid_of(trainers)
    wait_until(lambda: "worker.trainer" in command_of(first), 10, "the program")
    wait_until(lambda: _handles_sigterm(first), 20, "its handler")
    os.kill(first, how)
    wait_until(lambda: not command_of(first), 10, "its end")
    run = run_one(stage, trainers)
    assert (run.state, run.attempt, run.crashes) == (State.SUCCEEDED, 1, 0)
    assert pid_of(trainers) != first


def _handles_sigterm(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - it may end at any moment
        caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(("limit", "value"), [("MAX_ORDERS", 1), ("MAX_GROWTH_BYTES", -1)])
def test_a_trainer_is_ended_before_it_grows_old_or_large(
    stage: Stage, trainers: Trainers, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers_module, limit, value)
    first = pid_of(trainers)
    assert run_one(stage, trainers).state is State.SUCCEEDED
    assert command_of(first) == ""
    assert pid_of(trainers) != first


def test_a_trainer_that_has_left_a_process_behind_is_ended(stage: Stage) -> None:
    trainers = stage.playing_trainers("leaves_a_process")
    trainers._keeps = True
    claim = stage.claim()
    supervise(stage.context, [claim], trainers)
    trainers.close()
    assert stage.run_of(claim).state is State.SUCCEEDED
    assert processes_of(stage.record.column.data_dir) == []


def test_a_training_is_the_same_in_a_new_trainer_and_in_a_used_one(
    stage: Stage, trainers: Trainers
) -> None:
    """Real trainings: nothing of the first, which is another one, is in the second."""
    small = {"dataset": "synthetic", "batch_size": 1000}
    other = {"dataset": "synthetic", "batch_size": 500, "seeds": [7]}
    first = pid_of(trainers)
    alone = run_one(stage, trainers, epochs=1, spec=small)
    run_one(stage, trainers, epochs=1, spec=other)
    again = run_one(stage, trainers, epochs=1, spec=small)
    assert pid_of(trainers) == first
    assert alone.state is again.state is State.SUCCEEDED, again.error
    for figure in ("last", "confusion", "test_accuracy"):
        assert again.summary is not None
        assert alone.summary is not None
        assert _without_seconds(again.summary[figure]) == _without_seconds(alone.summary[figure])


def _without_seconds(figures: object) -> object:
    if not isinstance(figures, dict):
        return figures
    return {name: value for name, value in figures.items() if name != "seconds"}


@pytest.mark.parametrize("how", ["stopped", "killed", "without its main process", "pool killed"])
def test_a_trainer_that_waits_does_not_outlive_its_worker(
    embedded_record: Record, how: str
) -> None:
    with run_worker(embedded_record) as worker:
        (idle,) = wait_until(worker.idle_trainers, 20, "a trainer", worker)
        assert worker.trainers() == []
        if how == "stopped":
            worker.send(signal.SIGTERM)
            worker.wait(10)
        elif how == "killed":
            worker.send_to_group(signal.SIGKILL)
        elif how == "without its main process":
            worker.send(signal.SIGKILL)
        else:
            (pool,) = worker.pool()
            os.kill(pool, signal.SIGKILL)
        wait_until(lambda: not command_of(idle), 5, "the trainer's end")
        if how != "pool killed":
            wait_until(
                lambda: not processes_of(embedded_record.column.data_dir), 5, "the end of all"
            )


def test_a_worker_has_torch_loaded_before_it_has_an_order(embedded_column: Column) -> None:
    with open_record(embedded_column) as record, run_worker(record, doubles=False) as worker:
        (idle,) = wait_until(worker.idle_trainers, 20, "a trainer", worker)
        wait_until(lambda: has_loaded(idle, "libtorch"), 60, "torch", worker)
        job_id = record.submit(epochs=1, spec={"batch_size": 1000})
        assert record.wait_for_end(job_id, timeout=120).state is State.SUCCEEDED, worker.text()
        wait_until(lambda: worker.idle_trainers() == [idle], 5, "the same trainer", worker)
