"""One run under its supervisor, with children that behave and children that do not."""

import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from stages import Stage
from workers import Record, wait_until

from fmx_store import claims, jobs
from fmx_store.artifacts import list_artifacts
from fmx_store.claims import Heartbeat
from fmx_store.models import list_models
from fmx_store.states import Reason, Role, State
from fmx_store.tables import Run
from worker import child
from worker.scratch import MAX_LOG_BYTES
from worker.supervisor import supervise


def test_a_child_that_works(record: Record) -> None:
    stage = Stage(record)
    run = stage.play("works")
    assert (run.state, run.attempt, run.crashes) == (State.SUCCEEDED, 1, 0)
    assert run.summary == {"test_accuracy": 0.5}
    assert stage.epochs(run) == [1, 2]
    assert stage.files(run) == {
        "seed-0/model.onnx": "a model",
        "seed-0/notes/a.txt": "a note",
        "seed-0/log.txt": "hello from the child\n",
    }
    (model,) = list_models(record.db).items
    assert (model.run_id, model.test_accuracy) == (run.id, 0.5)

    collation = stage.claim_again()
    assert collation.run.role is Role.COLLATION
    supervise(stage.context, [collation], stage.playing_trainers("works"))
    assert {"model.onnx", "notes/a.txt", "log-collation.txt"} < stage.files(run).keys()
    assert len(list_models(record.db).items) == 1
    assert record.job(run.job_id).state is State.SUCCEEDED


def test_garbage_is_dropped(stage: Stage) -> None:
    run = stage.play("says_garbage")
    assert run.state is State.SUCCEEDED
    assert list(stage.files(run)) == ["seed-0/log.txt"]


def test_a_flood_of_epochs_is_written_whole_and_in_few_transactions(stage: Stage) -> None:
    claim = stage.claim()
    run = stage.play("floods", claim)
    assert run.state is State.SUCCEEDED
    assert stage.epochs(run) == list(range(1, 5001))
    assert stage.record.job(run.job_id).version < 50


@pytest.mark.parametrize(
    ("play", "words"),
    [
        ("exits_silently", "with status 3"),
        ("dies", "by signal 9: last words"),
        ("ends_in_half_a_line", "with status 0"),
        ("closes_its_pipe", "by signal 9"),
        ("never_ends_a_line", "a message has more than"),
    ],
)
def test_an_end_without_a_last_message_is_a_crash(
    stage: Stage, play: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "MAX_LINE_BYTES", 1024 * 1024)
    run = stage.play(play)
    assert (run.state, run.crashes, run.worker) == (State.QUEUED, 1, None)
    run = stage.play(play, stage.claim_again())
    run = stage.play(play, stage.claim_again())
    assert (run.state, run.reason, run.attempt) == (State.FAILED, Reason.WORKER_LOST, 3)
    assert run.error is not None
    assert words in run.error["message"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("user_error", Reason.USER_ERROR),
        ("nan_loss", Reason.NAN_LOSS),
        ("out_of_memory", Reason.OUT_OF_MEMORY),
        ("disk_full", Reason.DISK_FULL),
        ("data_unavailable", Reason.DATA_UNAVAILABLE),
        ("export_failed", Reason.INTERNAL_ERROR),
        ("internal_error", Reason.INTERNAL_ERROR),
        ("worker_lost", Reason.INTERNAL_ERROR),
    ],
)
def test_a_failure_keeps_its_reason(
    stage: Stage, code: str, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAY_CODE", code)
    run = stage.play("fails")
    assert (run.state, run.reason, run.crashes) == (State.FAILED, reason, 0)
    assert run.error == {"code": code, "message": "a message", "traceback": "a traceback"}
    assert stage.epochs(run) == [1]
    assert list(stage.files(run)) == ["seed-0/log.txt"]


@pytest.mark.parametrize("play", ["leaves_a_process", "hangs_after_the_end"])
def test_nothing_outlives_a_run(stage: Stage, play: str) -> None:
    assert stage.play(play).state is State.SUCCEEDED


def test_a_cancelled_child_that_ignores_sigterm_is_killed(record: Record) -> None:
    stage = Stage(record)
    claim = stage.claim()
    with stage.playing("ignores_sigterm", claim):
        began = time.monotonic()
        jobs.cancel(record.db, claim.job.id)
    assert time.monotonic() - began < 3
    assert stage.run_of(claim).state is State.CANCELLED
    assert record.job(claim.job.id).state is State.CANCELLED


def test_a_cancel_wins_over_a_late_success(stage: Stage) -> None:
    claim = stage.claim()
    with stage.playing("finishes_on_sigterm", claim):
        jobs.cancel(stage.record.db, claim.job.id)
    assert stage.run_of(claim).state is State.CANCELLED


def test_the_time_limit_counts_from_the_jobs_start(stage: Stage) -> None:
    claim = stage.claim(time_limit_seconds=1000)
    claim.job.started_at = datetime.now(UTC) - timedelta(seconds=998.5)
    began = time.monotonic()
    run = stage.play("ignores_sigterm", claim)
    assert 2 < time.monotonic() - began < 5
    assert (run.state, run.reason) == (State.FAILED, Reason.TIME_LIMIT)
    assert run.error is not None
    assert run.error["message"] == "the job's 1000 seconds are over"


def test_no_child_is_started_when_the_time_is_over_already(stage: Stage) -> None:
    claim = stage.claim(time_limit_seconds=1)
    claim.job.started_at = datetime.now(UTC) - timedelta(seconds=2)
    run = stage.play("works", claim)
    assert (run.state, run.reason) == (State.FAILED, Reason.TIME_LIMIT)
    assert stage.epochs(run) == []


@pytest.mark.parametrize("play", ["stops_on_sigterm", "ignores_sigterm"])
def test_a_worker_that_stops_hands_back(stage: Stage, play: str) -> None:
    claim = stage.claim()
    with stage.playing(play, claim):
        stage.stopping.set()
    run = stage.run_of(claim)
    assert (run.state, run.attempt, run.crashes, run.reason) == (State.QUEUED, 1, 0, None)


def test_a_run_that_ends_while_its_worker_stops_is_finished(stage: Stage) -> None:
    claim = stage.claim()
    with stage.playing("finishes_on_sigterm", claim):
        stage.stopping.set()
    assert stage.run_of(claim).state is State.SUCCEEDED


def test_a_child_that_another_has_stopped_is_handed_back(stage: Stage) -> None:
    run = stage.play("is_stopped_by_another")
    assert (run.state, run.crashes) == (State.QUEUED, 0)


def test_nothing_is_written_once_the_lease_is_lost(record: Record) -> None:
    stage = Stage(record)
    claim = stage.claim()
    with stage.playing("beats_slowly", claim):
        run = stage.run_of(claim)
        # Retried, since a heartbeat may come between the look and the taking.
        wait_until(
            lambda: claims.take_back(record.db, heartbeat_of(stage.run_of(claim)), 3), 2, "take"
        )
        again = stage.claim_again()
        assert again.run.id == run.id
        began = time.monotonic()
    assert time.monotonic() - began < 2, "its child is killed"
    run = stage.run_of(claim)
    assert (run.state, run.attempt, run.epochs_done) == (State.RUNNING, 2, 0)
    assert stage.epochs(run) == []
    assert list_artifacts(record.db, run.job_id) == []


def heartbeat_of(run: Run) -> Heartbeat:
    return Heartbeat(run.id, run.job_id, run.attempt, run.beat)


def test_the_lease_is_kept_while_nothing_is_said(stage: Stage) -> None:
    claim = stage.claim()
    with stage.playing("stops_on_sigterm", claim):
        beats = [stage.run_of(claim).beat for _ in range(11) if time.sleep(0.1) is None]
        stage.stopping.set()
    assert beats[-1] - beats[0] >= 2
    assert beats[-1] - beats[0] <= 5


def test_a_file_that_is_not_there_is_an_internal_error(stage: Stage) -> None:
    run = stage.play("announces_a_file_that_is_not_there")
    assert (run.state, run.reason) == (State.FAILED, Reason.INTERNAL_ERROR)
    assert run.error is not None
    assert "model.onnx" in run.error["message"]
    assert "Traceback" in run.error["traceback"]


def test_a_program_that_is_not_there_is_a_crash(stage: Stage) -> None:
    claim = stage.claim()
    supervise(stage.context, [claim], stage.trainers("/nowhere/python"))
    run = stage.run_of(claim)
    assert (run.state, run.crashes) == (State.QUEUED, 1)


def test_a_very_long_log_keeps_its_end(stage: Stage) -> None:
    claim = stage.claim()
    chatter = (
        "import json, socket, sys\n"
        "pipe = socket.socket(fileno=int(sys.argv[-1]))\n"
        "with open(json.loads(pipe.makefile().readline())['log'], 'a') as log:\n"
        "    for n in range(200_000): print(f'{n:099}', file=log)\n"
        'pipe.sendall(b\'{"type": "done"}\\n\')'
    )
    supervise(stage.context, [claim], stage.trainers(sys.executable, "-c", chatter))
    run = stage.run_of(claim)
    assert run.state is State.SUCCEEDED
    text = stage.files(run)["seed-0/log.txt"]
    assert text.startswith("[the beginning was too long")
    assert text.endswith(f"{199_999:099}\n")
    assert MAX_LOG_BYTES * 0.9 < len(text) < MAX_LOG_BYTES * 1.1
