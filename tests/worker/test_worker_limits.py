"""What a worker does not let a training take: memory, and the last of the disk."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from services import Column
from stages import Stage
from workers import Record, open_record, run_worker, wait_until

from fmx_store import claims
from fmx_store.settings import MEBIBYTE
from fmx_store.states import Reason, State
from worker.supervisor import supervise

LIMIT_BYTES = 256 * MEBIBYTE


@pytest.fixture
def bounded(embedded_record: Record, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A worker whose trainings may have 256 MiB, and children that take 400 if they are told to."""
    monkeypatch.setenv("PLAY_BYTES", str(400 * MEBIBYTE))
    stage = Stage(embedded_record)
    settings = stage.context.settings.model_copy(update={"worker_memory_bytes": LIMIT_BYTES})
    stage.context = replace(stage.context, settings=settings)
    return stage


@pytest.mark.parametrize("play", ["takes_memory", "has_taken_memory_by_a_child"])
def test_a_training_that_takes_too_much_memory_has_failed(bounded: Stage, play: str) -> None:
    run = bounded.play(play)
    assert (run.state, run.reason, run.crashes) == (State.FAILED, Reason.OUT_OF_MEMORY, 0)
    assert run.error is not None
    assert run.error["code"] == "out_of_memory"
    assert f"{LIMIT_BYTES:,} bytes" in run.error["message"]
    assert bounded.epochs(run) == [1]
    assert bounded.play("works").state is State.SUCCEEDED, "the rest goes on"


def test_a_training_below_the_limit_goes_on(
    bounded: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAY_BYTES", str(100 * MEBIBYTE))
    claim = bounded.claim()
    with bounded.playing("takes_memory", claim):
        assert bounded.run_of(claim).state is State.RUNNING
        bounded.stopping.set()


def test_a_pack_that_takes_too_much_is_taken_apart(bounded: Stage) -> None:
    """Nobody knows whose memory it was, so each trains alone next, and the guilty one fails."""
    job_id = bounded.record.submit(seeds=2)
    context = bounded.context
    pack = claims.claim_pack(context.db, "tester", ("auto", "cpu"), lambda _: 100)
    assert len(pack) == 2
    supervise(context, pack, bounded.playing_trainers("takes_memory"))
    a, b, _ = bounded.record.runs(job_id)
    assert [(run.state, run.crashes) for run in (a, b)] == [(State.QUEUED, 1)] * 2
    (alone,) = claims.claim_pack(context.db, "tester", ("auto", "cpu"), lambda _: 100)
    assert bounded.play("takes_memory", alone).reason is Reason.OUT_OF_MEMORY
    (other,) = claims.claim_pack(context.db, "tester", ("auto", "cpu"), lambda _: 100)
    assert bounded.play("works", other).state is State.SUCCEEDED


def test_nothing_is_begun_on_a_full_disk_until_there_is_room(
    column: Column, tmp_path: Path, filler: Callable[[], None]
) -> None:
    wanted = shutil.disk_usage(tmp_path).free + 256 * MEBIBYTE
    with open_record(column) as record, run_worker(record, min_free_bytes=wanted) as worker:
        job_id = record.submit()
        wait_until(lambda: "the disk is full" in worker.text(), 20, "the worker to say so")
        assert record.run(job_id).state is State.QUEUED
        assert record.run(job_id).attempt == 0
        filler()
        assert record.wait_for_end(job_id, 30).state is State.SUCCEEDED
