"""Whatever ends an attempt, the next goes on from a checkpoint, to the bits of an unbroken run."""

import os
import shutil
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from services import Column
from sqlmodel import col, select
from workers import Record, Worker, is_writable, open_record, run_worker, wait_until

from fmx_store import artifacts, jobs
from fmx_store.artifacts import list_artifacts
from fmx_store.blobs import open_store
from fmx_store.states import State
from fmx_store.tables import Blob, Checkpoint, Metric, Run

EPOCHS = 80
SPEC: dict[str, Any] = {
    "fraction_percent": 5,
    "early_stopping": None,
    "optimiser": {"name": "SGD", "learning_rate": 0.01, "momentum": 0.9},
    "schedule": "cosine",
}
OFTEN: dict[str, Any] = {"checkpoint_seconds": 0.3}
NEVER: dict[str, Any] = {"checkpoint_seconds": 3600, "stop_seconds": 8}
STOP_SECONDS = 12  # for a worker's end
MOST_SECONDS = 90  # for a training, whatever else runs on the machine
COMPARED = ("model.safetensors", "model.onnx", "test-predictions.csv")
FIGURES = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Left:
    """What a job's trainings have left: digests of files by path, figures by run and epoch."""

    digests: dict[str, str]
    figures: dict[str, list[tuple[Any, ...]]]


def submit(record: Record, **request: Any) -> str:
    return record.submit(epochs=EPOCHS, spec=SPEC, **request)


def left_by(record: Record, job_id: str) -> Left:
    digests = {
        artifact.path: artifact.sha256
        for artifact in list_artifacts(record.db, job_id)
        if artifact.path.endswith(COMPARED)
    }
    figures: dict[str, list[tuple[Any, ...]]] = {}
    for run in record.runs(job_id)[:-1]:
        rows = metrics_of(record, run)
        figures[run.name] = [tuple(getattr(row, name) for name in FIGURES) for row in rows]
    return Left(digests, figures)


def metrics_of(record: Record, run: Run) -> Sequence[Metric]:
    with record.db.read() as session:
        query = select(Metric).where(Metric.run_id == run.id).order_by(col(Metric.epoch))
        return session.exec(query).all()


def checkpoints_of(record: Record, run: Run) -> list[int]:
    """Their epochs, the newest first."""
    with record.db.read() as session:
        query = select(Checkpoint.epoch).where(Checkpoint.run_id == run.id)
        return list(session.exec(query.order_by(col(Checkpoint.epoch).desc())))


@contextmanager
def open_column(folder: Path, template: Path) -> Generator[Record]:
    data_dir = folder / "data"
    data_dir.mkdir()
    shutil.copyfile(template, data_dir / "fmx.sqlite3")
    with open_record(Column("embedded", {"FMX_DATA_DIR": str(data_dir)})) as record:
        yield record


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Left:
    """What the run leaves if nothing happens to it."""
    with open_column(tmp_path_factory.mktemp("unbroken"), sqlite_template) as record:
        job_id = submit(record)
        with run_worker(record, doubles=False, **NEVER) as worker:
            assert record.wait_for_end(job_id, MOST_SECONDS).state is State.SUCCEEDED, worker.text()
        assert record.run(job_id).attempt == 1
        return left_by(record, job_id)


def wait_for_checkpoints(record: Record, job_id: str, worker: Worker) -> int:
    """Until there are two; answers the newest one's epoch."""
    run = record.run(job_id)
    found = wait_until(
        lambda: each if len(each := checkpoints_of(record, run)) > 1 else None,
        MOST_SECONDS,
        "two checkpoints",
        worker,
    )
    return found[0]


def wait_until_resumed(record: Record, job_id: str, epoch: int, seconds: float) -> float:
    """Until the second attempt has written an epoch after the checkpoint's; answers how long."""
    began = time.monotonic()

    def goes_on() -> bool:
        run = record.run(job_id)
        return run.attempt == 2 and run.epochs_done > epoch

    wait_until(goes_on, seconds, "an epoch after the checkpoint")
    return time.monotonic() - began


def assert_as_unbroken(record: Record, job_id: str, unbroken: Left, worker: Worker) -> None:
    """Ended, with the same files and figures, all under the last token; nothing else is left."""
    assert record.wait_for_end(job_id, MOST_SECONDS).state is State.SUCCEEDED, worker.text()
    assert left_by(record, job_id) == unbroken
    for run in record.runs(job_id)[:-1]:
        assert {metric.attempt for metric in metrics_of(record, run)} == {run.attempt}
        assert checkpoints_of(record, run) == []
    # What a kill has caught between the store and the record is found by the sweep.
    artifacts.collect(record.db, open_store(record.settings), blobs_of(record))
    assert has_only_artifacts(record, job_id)


def blobs_of(record: Record) -> set[str]:
    with record.db.read() as session:
        return set(session.exec(select(Blob.sha256)))


def has_only_artifacts(record: Record, job_id: str) -> bool:
    """Whether every stored file is an artifact."""
    named = {artifact.sha256 for artifact in list_artifacts(record.db, job_id)}
    return blobs_of(record) == named


def kill_all(worker: Worker) -> None:
    """Main process, pool and trainers at once, as a power cut does."""
    for pid in (worker.process.pid, *worker.descendants()):
        os.kill(pid, signal.SIGKILL)


def signal_all(worker: Worker, pids: Sequence[int], how: signal.Signals) -> None:
    for pid in (worker.process.pid, *pids):
        os.kill(pid, how)


def freeze(worker: Worker, record: Record) -> list[int]:
    """Stops a worker and all it has started; answers these.

    Not within a write of SQLite: the whole database has one lock there, which they would keep.
    """
    while True:
        frozen = worker.descendants()
        signal_all(worker, frozen, signal.SIGSTOP)
        if not record.db.is_sqlite or is_writable(record.column.data_dir / "fmx.sqlite3"):
            return frozen
        signal_all(worker, frozen, signal.SIGCONT)
        time.sleep(0.05)


def test_a_trainer_is_killed(record: Record, unbroken: Left) -> None:
    job_id = submit(record)
    with run_worker(record, doubles=False, **OFTEN) as worker:
        epoch = wait_for_checkpoints(record, job_id, worker)
        (trainer,) = worker.trainers()
        os.kill(trainer, signal.SIGKILL)
        wait_until_resumed(record, job_id, epoch, MOST_SECONDS)
        record.wait_for_end(job_id, MOST_SECONDS)
        wait_until(lambda: has_only_artifacts(record, job_id), 20, "the removal of checkpoints")
        assert_as_unbroken(record, job_id, unbroken, worker)
    run = record.run(job_id)
    assert (run.attempt, run.crashes) == (2, 1)


def test_a_worker_is_killed_and_another_goes_on(record: Record, unbroken: Left) -> None:
    job_id = submit(record)
    with run_worker(record, doubles=False, **OFTEN) as worker:
        epoch = wait_for_checkpoints(record, job_id, worker)
        with run_worker(record, doubles=False, **OFTEN) as other:
            kill_all(worker)
            wait_until_resumed(record, job_id, epoch, MOST_SECONDS)
            assert_as_unbroken(record, job_id, unbroken, other)


def test_a_worker_that_stops_hands_back_its_last_epoch(record: Record, unbroken: Left) -> None:
    """Though no checkpoint was due: it is written when the trainer is asked to stop."""
    job_id = submit(record)
    with run_worker(record, doubles=False, **NEVER) as worker:
        done = record.wait_for_epochs(job_id, 20, MOST_SECONDS).epochs_done
        assert checkpoints_of(record, record.run(job_id)) == []
        worker.send(signal.SIGTERM)
        worker.wait(STOP_SECONDS)
    run = record.run(job_id)
    assert (run.state, run.attempt, run.crashes) == (State.QUEUED, 1, 0)
    (epoch,) = checkpoints_of(record, run)
    assert epoch >= done
    assert [m.epoch for m in metrics_of(record, run)] == list(range(1, epoch + 1))
    with run_worker(record, doubles=False, **NEVER) as worker:
        wait_until_resumed(record, job_id, epoch, MOST_SECONDS)
        assert min(m.epoch for m in metrics_of(record, run)) == 1, "the first part stays"
        assert_as_unbroken(record, job_id, unbroken, worker)
        log = read_artifact(record, job_id, "seed-0/log.txt")
        assert f"goes on after epoch {epoch}\n" in log
        assert f" epoch {epoch}:" not in log


def read_artifact(record: Record, job_id: str, path: str) -> str:
    (sha256,) = (a.sha256 for a in list_artifacts(record.db, job_id) if a.path == path)
    with open_store(record.settings).open(sha256) as file:
        return file.read().decode()


def test_a_frozen_worker_does_no_harm(record: Record, unbroken: Left) -> None:
    job_id = submit(record)
    with run_worker(record, doubles=False, **OFTEN) as worker:
        epoch = wait_for_checkpoints(record, job_id, worker)
        with run_worker(record, doubles=False, **OFTEN) as other:
            frozen = freeze(worker, record)
            wait_until_resumed(record, job_id, epoch, MOST_SECONDS)
            assert_as_unbroken(record, job_id, unbroken, other)
            signal_all(worker, frozen, signal.SIGCONT)
            wait_until(lambda: "its lease is lost" in worker.text(), 20, "the loss", worker)
            wait_until(lambda: not worker.trainers(), 20, "the end of its trainer", worker)
            assert_as_unbroken(record, job_id, unbroken, other)


def test_a_damaged_checkpoint_is_passed_over(embedded_record: Record, unbroken: Left) -> None:
    record = embedded_record
    job_id = submit(record)
    with run_worker(record, doubles=False, **OFTEN) as worker:
        wait_for_checkpoints(record, job_id, worker)
        kill_all(worker)
    run = record.run(job_id)
    newest, before = checkpoints_of(record, run)
    damage(record, run, newest)
    with run_worker(record, doubles=False, **OFTEN) as worker:
        wait_until_resumed(record, job_id, newest, MOST_SECONDS)
        assert f"goes on after epoch {before}" in worker.text()
        assert_as_unbroken(record, job_id, unbroken, worker)
    log = read_artifact(record, job_id, "seed-0/log.txt")
    assert f"the checkpoint of epoch {newest} is left aside: it is damaged" in log
    assert f" epoch {before + 1}:" in log


def damage(record: Record, run: Run, epoch: int) -> None:
    with record.db.read() as session:
        query = select(Checkpoint.sha256).where(Checkpoint.run_id == run.id)
        sha256 = session.exec(query.where(Checkpoint.epoch == epoch)).one()
    path = record.settings.storage_dir / sha256[:2] / sha256
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_cancel_leaves_no_checkpoint(embedded_record: Record) -> None:
    record = embedded_record
    job_id = submit(record)
    with run_worker(record, doubles=False, **OFTEN) as worker:
        wait_for_checkpoints(record, job_id, worker)
        jobs.cancel(record.db, job_id)
        began = time.monotonic()
        assert record.wait_for_end(job_id).state is State.CANCELLED
        assert time.monotonic() - began < 5
        assert checkpoints_of(record, record.run(job_id)) == []
        wait_until(lambda: has_only_artifacts(record, job_id), 10, "the removal of checkpoints")


def test_a_pack_is_handed_back_and_goes_on(embedded_record: Record) -> None:
    """Each run from its own checkpoint, together again."""
    record = embedded_record
    settings: dict[str, Any] = {**NEVER, "worker_pack": 2}
    spec = {**SPEC, "fraction_percent": 2}
    job_id, whole_id = (record.submit(epochs=12, spec=spec, seeds=2, reuse=False) for _ in range(2))
    with run_worker(record, doubles=False, **settings) as worker:
        record.wait_for_epochs(job_id, 3, MOST_SECONDS)
        worker.send(signal.SIGTERM)
        worker.wait(STOP_SECONDS)
    handed_back = record.runs(job_id)[:-1]
    epochs = [checkpoints_of(record, run) for run in handed_back]
    assert all(len(each) == 1 and each[0] >= 3 for each in epochs)
    with run_worker(record, doubles=False, **settings) as worker:
        for each in (job_id, whole_id):
            assert record.wait_for_end(each, MOST_SECONDS).state is State.SUCCEEDED, worker.text()
        assert f"goes on after epoch {epochs[0][0]}" in worker.text()
    assert left_by(record, job_id) == left_by(record, whole_id)
    assert [run.attempt for run in record.runs(job_id)] == [2, 2, 1]
    assert [run.attempt for run in record.runs(whole_id)] == [1, 1, 1]
