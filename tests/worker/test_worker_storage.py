"""Runs whose storage is away: what was trained is kept until it is back."""

import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from faulty_s3 import FaultyStore
from services import Column
from stages import Stage
from workers import open_record, wait_until

from fmx_store import jobs
from fmx_store.claims import Claim
from fmx_store.settings import Settings
from fmx_store.states import Reason, Role, State
from worker.trainers import make_environment

AWAY_SECONDS = 3.0


@pytest.fixture
def stage(column: Column, faulty_s3_storage: dict[str, str]) -> Generator[Stage]:
    """A worker's view of each column, with its files in a bucket behind the proxy."""
    values = {n.removeprefix("FMX_").lower(): value for n, value in faulty_s3_storage.items()}
    with open_record(column, **values, lease_seconds=60) as record:
        yield Stage(record)


def heal_later(faulty_s3: FaultyStore, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, faulty_s3.heal)
    timer.start()
    return timer


def files_of(stage: Stage, claim: Claim) -> set[str]:
    return set(stage.files(stage.run_of(claim)))


def test_a_training_that_ends_while_the_storage_is_away_is_finished(
    stage: Stage, faulty_s3: FaultyStore
) -> None:
    """Its lease is kept meanwhile, so nobody else begins it again."""
    claim = stage.claim()
    faulty_s3.befall("busy")
    timer = heal_later(faulty_s3, AWAY_SECONDS)
    began = time.monotonic()
    stage.supervise("works", claim)
    timer.join()
    assert time.monotonic() - began >= AWAY_SECONDS
    run = stage.run_of(claim)
    assert (run.state, run.attempt, run.crashes) == (State.SUCCEEDED, 1, 0)
    assert run.beat > AWAY_SECONDS / stage.record.settings.heartbeat_seconds / 2
    assert files_of(stage, claim) == {"seed-0/model.onnx", "seed-0/notes/a.txt", "seed-0/log.txt"}


@pytest.mark.parametrize("fault", ["cut off", "answer lost"])
def test_connections_that_break_cost_nothing(
    stage: Stage, faulty_s3: FaultyStore, fault: str
) -> None:
    claim = stage.claim()
    faulty_s3.befall(fault, method="PUT", times=4)  # pyright: ignore[reportArgumentType] - one of them
    run = stage.play("works", claim)
    assert (run.state, run.attempt) == (State.SUCCEEDED, 1)
    assert len(files_of(stage, claim)) == 3


def test_a_storage_that_stays_away_fails_the_run_when_patience_is_over(
    column: Column, faulty_s3_storage: dict[str, str], faulty_s3: FaultyStore
) -> None:
    values = {n.removeprefix("FMX_").lower(): value for n, value in faulty_s3_storage.items()}
    with open_record(column, **values, storage_patience_seconds=1) as record:
        stage = Stage(record)
        claim = stage.claim()
        faulty_s3.befall("busy")
        run = stage.play("works", claim)
        assert (run.state, run.reason) == (State.FAILED, Reason.STORAGE_UNAVAILABLE)
        assert run.error is not None
        assert run.error["code"] == "storage_unavailable"
        faulty_s3.heal()
        jobs.retry(record.db, run.job_id)
        assert stage.play("works", stage.claim_again()).state is State.SUCCEEDED


def test_a_worker_that_stops_hands_back_what_it_can_not_store(
    stage: Stage, faulty_s3: FaultyStore
) -> None:
    claim = stage.claim()
    faulty_s3.befall("busy")
    stopping = threading.Timer(2, stage.stopping.set)
    stopping.start()
    began = time.monotonic()
    run = stage.play("works", claim)
    assert time.monotonic() - began < 12
    assert (run.state, run.attempt, run.crashes) == (State.QUEUED, 1, 0)
    faulty_s3.heal()
    stage.stopping.clear()
    assert stage.play("works", stage.claim_again()).state is State.SUCCEEDED


def test_a_cancel_ends_the_waiting(stage: Stage, faulty_s3: FaultyStore) -> None:
    claim = stage.claim()
    faulty_s3.befall("busy")
    thread = threading.Thread(target=stage.supervise, args=("works", claim))
    thread.start()
    wait_until(lambda: faulty_s3.asked, 20, "an attempt to store")
    jobs.cancel(stage.record.db, claim.lease.job_id)
    cancelled_at = time.monotonic()
    thread.join()
    assert time.monotonic() - cancelled_at < 5
    run = stage.run_of(claim)
    assert (run.state, run.reason) == (State.CANCELLED, Reason.CANCELLED_BY_USER)


def test_a_storage_that_never_answers_delays_no_cancel(
    stage: Stage, faulty_s3: FaultyStore
) -> None:
    """The run ends without its log."""
    claim = stage.claim()
    faulty_s3.befall("no answer")
    with stage.playing("stops_on_sigterm", claim):
        jobs.cancel(stage.record.db, claim.lease.job_id)
        cancelled_at = time.monotonic()
        wait_until(lambda: stage.run_of(claim).state is State.CANCELLED, 20, "the end")
        assert time.monotonic() - cancelled_at < 5
    faulty_s3.heal()
    assert files_of(stage, claim) == set()


def test_what_a_run_needs_is_waited_for(stage: Stage, faulty_s3: FaultyStore) -> None:
    """A collation needs the files of its trainings."""
    training = stage.claim()
    stage.supervise("works", training)
    claim = stage.claim_again()
    assert claim.run.role is Role.COLLATION
    faulty_s3.befall("busy")
    timer = heal_later(faulty_s3, AWAY_SECONDS)
    stage.supervise("works", claim)
    timer.join()
    collation = jobs.list_runs(stage.record.db, claim.lease.job_id)[-1]
    assert (collation.state, collation.attempt) == (State.SUCCEEDED, 1)


def test_the_trainer_gets_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("FMX_STORAGE_URL", "s3://secret")
    monkeypatch.setenv("LC_ALL", "C")
    environment = make_environment(Settings(data_dir=tmp_path))
    assert "secret" not in environment.values()
    assert environment["LC_ALL"] == "C"
