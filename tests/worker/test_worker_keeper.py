"""Checkpoints on their way into the record: kept whenever that is possible, in nobody's way."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stages import Stage
from workers import wait_until

from fmx_store import claims, jobs
from fmx_store.blobs import FolderStore
from fmx_store.checkpoints import StoredCheckpoint
from fmx_store.claims import Claim
from fmx_store.states import Reason, State


class SlowStore(FolderStore):
    """Stores nothing until it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_go_on = threading.Event()
        self.is_asked = threading.Event()

    def put(self, source: Path, sha256: str) -> None:
        self.is_asked.set()
        self.may_go_on.wait(30)
        super().put(source, sha256)


@pytest.fixture
def slow_store(stage: Stage) -> SlowStore:
    store = SlowStore(stage.record.settings.storage_dir)
    stage.context = replace(stage.context, blobs=store)
    return store


def epochs_of(checkpoints: Sequence[StoredCheckpoint]) -> list[int]:
    return [stored.epoch for stored in checkpoints]


def read(stage: Stage, claim: Claim) -> str:
    with stage.context.blobs.open(claim.checkpoints[0].sha256) as file:
        return file.read().decode()


@pytest.mark.parametrize(
    "play", ["leaves_a_checkpoint_and_dies", "leaves_a_checkpoint_when_it_is_stopped"]
)
def test_what_the_trainer_has_left_is_kept_at_its_end(stage: Stage, play: str) -> None:
    """Its epochs too: the next attempt begins after them."""
    claim = stage.claim()
    if play == "leaves_a_checkpoint_when_it_is_stopped":
        with stage.playing(play, claim):
            stage.stopping.set()
    else:
        stage.supervise(play, claim)
    assert stage.run_of(claim).state is State.QUEUED
    again = stage.claim_again()
    assert epochs_of(again.checkpoints) == [3]
    assert read(stage, again) == "after epoch 3"
    assert stage.epochs(again.run) == [1, 2, 3]
    assert again.run.epochs_done == 3


def test_a_run_that_is_done_leaves_none(stage: Stage) -> None:
    run = stage.play("leaves_a_checkpoint_and_is_done")
    assert run.state is State.SUCCEEDED
    assert [name.rpartition("/")[2] for name in stage.files(run)] == ["log.txt"]


def test_a_store_that_hangs_holds_up_no_lease_and_no_cancel(
    stage: Stage, slow_store: SlowStore
) -> None:
    claim = stage.claim()
    with stage.playing("leaves_a_checkpoint_and_beats", claim):
        assert slow_store.is_asked.wait(10)
        beat = stage.run_of(claim).beat
        wait_until(lambda: stage.run_of(claim).beat > beat + 2, 10, "three heartbeats")
        jobs.cancel(stage.record.db, claim.job.id)
        began = time.monotonic()
        slow_store.may_go_on.wait(1)  # the log is stored at the end
        slow_store.may_go_on.set()
    assert time.monotonic() - began < 5
    run = stage.run_of(claim)
    assert run.state is State.CANCELLED
    assert stage.epochs(run) == [1, 2, 3]


def test_a_store_that_hangs_delays_a_hand_back_for_a_moment_only(
    stage: Stage, slow_store: SlowStore
) -> None:
    claim = stage.claim()
    with stage.playing("leaves_a_checkpoint_and_beats", claim):
        assert slow_store.is_asked.wait(10)
        stage.stopping.set()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert stage.run_of(claim).state is State.QUEUED
    again = stage.claim_again()
    assert again.checkpoints == (), "it came too late"
    slow_store.may_go_on.set()


def test_a_retry_goes_on_after_a_time_limit(stage: Stage) -> None:
    claim = stage.claim(time_limit_seconds=1000)
    claim.job.started_at = datetime.now(UTC) - timedelta(seconds=997)
    stage.supervise("leaves_a_checkpoint_and_beats", claim)
    assert stage.run_of(claim).reason is Reason.TIME_LIMIT
    jobs.retry(stage.record.db, claim.job.id)
    again = stage.claim_again()
    assert epochs_of(again.checkpoints) == [3]
    assert again.run.epochs_done == 3


def test_a_file_that_is_not_there_costs_nothing(stage: Stage) -> None:
    run = stage.play("announces_a_checkpoint_that_is_not_there")
    assert run.state is State.SUCCEEDED


def test_a_trainer_that_goes_further_back_takes_the_record_with_it(stage: Stage) -> None:
    claim = stage.claim()
    stage.supervise("leaves_a_checkpoint_and_dies", claim)
    again = stage.claim_again()
    stage.supervise("goes_further_back", again)
    run = stage.run_of(again)
    assert (run.state, run.epochs_done) == (State.SUCCEEDED, 2)
    assert stage.epochs(run) == [1, 2]


def test_a_checkpoint_whose_blob_is_gone_is_passed_over(stage: Stage) -> None:
    claim = stage.claim()
    stage.supervise("leaves_a_checkpoint_and_dies", claim)
    again = stage.claim_again()
    stage.context.blobs.delete(again.checkpoints[0].sha256)
    run = stage.play("works", again)
    assert run.state is State.SUCCEEDED


def test_without_a_lease_nothing_is_kept(stage: Stage, slow_store: SlowStore) -> None:
    claim = stage.claim()
    with stage.playing("leaves_a_checkpoint_and_beats", claim):
        assert slow_store.is_asked.wait(10)
        wait_until(lambda: take_back(stage), 10, "the taking back")
        again = stage.claim_again()
        slow_store.may_go_on.set()
    assert again.checkpoints == ()
    claims.hand_back(stage.record.db, again.lease)
    assert stage.claim_again().checkpoints == ()


def take_back(stage: Stage) -> bool:
    db = stage.record.db
    return claims.take_back(db, claims.active(db)[0], 3)
