"""Packs: several runs under one trainer, each with an end of its own."""

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from stages import Stage
from workers import (
    DIES_LATE,
    DOUBLES,
    GOOD,
    Record,
    command_of,
    processes_of,
    run_worker,
    wait_until,
)

from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import PlannedRun
from fmx_store import claims, jobs
from fmx_store.artifacts import list_artifacts
from fmx_store.claims import Claim, Heartbeat, Lease
from fmx_store.metrics import read_metrics
from fmx_store.states import Reason, State
from fmx_store.tables import Run
from worker.devices import Hardware
from worker.recorder import Recorder
from worker.shared import Slots
from worker.supervisor import supervise
from worker.tasks import work_off
from worker.trainers import Trainers

DIVERGES = 11
LONG = 2000  # epochs: more than any test waits for
FEW, MANY = 2, 20

Play = tuple[int, int]
"""What the double of a training plays, and for how many epochs."""


@pytest.fixture(autouse=True)
def _doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLES))


@pytest.fixture
def trainers(stage: Stage) -> Generator[Trainers]:
    kept = Trainers(stage.record.settings, keeps=True)
    kept.warm_up()
    try:
        yield kept
    finally:
        kept.close()
        assert processes_of(stage.record.column.data_dir) == []


def submit_pack(record: Record, plays: Mapping[str, Play], **request: object) -> str:
    """A job whose trainings may all train together."""
    spec = {"seeds": list(range(len(plays))), "dataset": "synthetic"}
    asked = parse_request({"kind": "q1", "spec": spec, **request})
    planned = tuple(
        PlannedRun(
            name=name,
            training=run.training.model_copy(update={"split_seed": play, "max_epochs": epochs}),
        )
        for (name, (play, epochs)), run in zip(plays.items(), plan(asked), strict=True)
    )
    with (
        mock.patch("fmx_store.submissions.plan", return_value=planned),
        mock.patch("fmx_store.new_jobs.pack_key", return_value="kin"),
    ):
        return jobs.submit(record.db, asked, 100).job.id


def claim_pack(stage: Stage) -> list[Claim]:
    return claims.claim_pack(stage.record.db, "tester", ("auto", "cpu"), lambda _: 100)


def runs_of(stage: Stage, job_id: str) -> dict[str, Run]:
    return {run.name: run for run in stage.record.runs(job_id)[:-1]}


def told(run: Run) -> tuple[State, int, int]:
    return run.state, run.attempt, run.crashes


@contextmanager
def supervised(stage: Stage, pack: list[Claim], trainers: Trainers) -> Generator[None]:
    """In a thread, from the first epochs of all; waits for the end."""
    thread = threading.Thread(target=supervise, args=(stage.context, pack, trainers))
    thread.start()
    try:
        for claim in pack:
            wait_until(lambda c=claim: stage.run_of(c).epochs_done > 0, 20, claim.run.name)
        yield
    finally:
        thread.join()


def test_each_run_of_a_pack_leaves_what_it_would_leave_alone(
    stage: Stage, trainers: Trainers
) -> None:
    job_id = submit_pack(stage.record, {"a": (GOOD, 2), "b": (GOOD, 4), "c": (GOOD, 3)})
    waiting = trainers._idle
    supervise(stage.context, claim_pack(stage), trainers)
    runs = runs_of(stage, job_id)
    assert {name: told(run) for name, run in runs.items()} == dict.fromkeys(
        "abc", (State.SUCCEEDED, 1, 0)
    )
    files = stage.files(runs["a"])
    for seed, (name, epochs) in enumerate({"a": 2, "b": 4, "c": 3}.items()):
        assert stage.epochs(runs[name]) == list(range(1, epochs + 1))
        assert files[f"{name}/model.onnx"] == f"model.onnx of seed {seed}"
        log = files[f"{name}/log.txt"]
        assert log.count(" epoch ") == epochs
        assert "INFO done\n[printed by the process of the pack]\na pack of 3\n" in log
        assert runs[name].summary is not None
    assert trainers._idle is waiting, "it did well, so it waits again"
    assert list(stage.record.settings.scratch_dir.iterdir()) == []


def test_a_run_that_ends_early_is_written_while_the_others_go_on(
    stage: Stage, trainers: Trainers
) -> None:
    plays = {"short": (GOOD, FEW), "long": (GOOD, LONG)}
    job_id = submit_pack(stage.record, plays)
    with supervised(stage, claim_pack(stage), trainers):
        wait_until(lambda: runs_of(stage, job_id)["short"].state is State.SUCCEEDED, 10, "its end")
        assert runs_of(stage, job_id)["long"].state is State.RUNNING
        assert {a.path for a in list_artifacts(stage.record.db, job_id)} > {"short/model.onnx"}
        jobs.cancel(stage.record.db, job_id)


def test_a_run_that_fails_fails_alone(stage: Stage, trainers: Trainers) -> None:
    job_id = submit_pack(stage.record, {"a": (GOOD, 3), "bad": (DIVERGES, 3), "c": (GOOD, 3)})
    waiting = trainers._idle
    supervise(stage.context, claim_pack(stage), trainers)
    runs = runs_of(stage, job_id)
    assert [told(runs[name]) for name in "ac"] == [(State.SUCCEEDED, 1, 0)] * 2
    assert (runs["bad"].state, runs["bad"].reason) == (State.FAILED, Reason.NAN_LOSS)
    files = stage.files(runs["bad"])
    assert "DivergedError" in files["bad/log.txt"]
    assert "DivergedError" not in files["a/log.txt"]
    assert trainers._idle is not waiting


def test_a_crash_counts_for_those_that_were_on_their_way(stage: Stage, trainers: Trainers) -> None:
    """The one that is to blame dies when the first has ended."""
    plays = {"done": (GOOD, 1), "bad": (DIES_LATE, LONG), "c": (GOOD, LONG)}
    job_id = submit_pack(stage.record, plays)
    with mock.patch.object(stage.record.db, "on_commit", None):
        supervise(stage.context, claim_pack(stage), trainers)
    runs = runs_of(stage, job_id)
    assert told(runs["done"]) == (State.SUCCEEDED, 1, 0)
    assert [told(runs[name]) for name in ("bad", "c")] == [(State.QUEUED, 1, 1)] * 2
    assert [claim.run.name for claim in claim_pack(stage)] == ["bad"], "alone from now on"
    assert [claim.run.name for claim in claim_pack(stage)] == ["c"]


def test_a_lost_lease_ends_its_run_alone(stage: Stage, trainers: Trainers) -> None:
    job_id = submit_pack(stage.record, {"a": (GOOD, MANY), "lost": (GOOD, LONG)})
    pack = claim_pack(stage)
    with supervised(stage, pack, trainers):
        (lost,) = [claim for claim in pack if claim.run.name == "lost"]
        wait_until(lambda: _take_back(stage, lost), 5, "the taking back")
        (again,) = claim_pack(stage)
        began = time.monotonic()
    assert time.monotonic() - began < 10, "nobody trains what is lost to its end"
    runs = runs_of(stage, job_id)
    assert told(runs["a"]) == (State.SUCCEEDED, 1, 0)
    assert stage.epochs(runs["a"]) == list(range(1, MANY + 1))
    assert told(runs["lost"]) == (State.RUNNING, 2, 1)
    assert read_metrics(stage.record.db, again.run.id) == []
    assert not any(
        artifact.path.startswith("lost/") for artifact in list_artifacts(stage.record.db, job_id)
    )


def _take_back(stage: Stage, claim: Claim) -> bool:
    run = stage.run_of(claim)
    return claims.take_back(stage.record.db, Heartbeat(run.id, run.job_id, 1, run.beat), 3)


def test_a_pack_whose_leases_are_all_lost_is_killed(stage: Stage, trainers: Trainers) -> None:
    job_id = submit_pack(stage.record, {"a": (GOOD, LONG), "b": (GOOD, LONG)})
    pack = claim_pack(stage)
    with supervised(stage, pack, trainers):
        for claim in pack:
            wait_until(lambda c=claim: _take_back(stage, c), 5, "the taking back")
    assert [told(run) for run in runs_of(stage, job_id).values()] == [(State.QUEUED, 1, 1)] * 2


def test_a_cancel_stops_all(stage: Stage, trainers: Trainers) -> None:
    job_id = submit_pack(stage.record, {"a": (GOOD, LONG), "b": (GOOD, LONG)})
    assert trainers._idle is not None
    pid = trainers._idle.pid
    with supervised(stage, claim_pack(stage), trainers):
        began = time.monotonic()
        jobs.cancel(stage.record.db, job_id)
    assert time.monotonic() - began < 5
    assert stage.record.job(job_id).state is State.CANCELLED
    assert {run.state for run in runs_of(stage, job_id).values()} == {State.CANCELLED}
    assert not command_of(pid)


def test_a_worker_that_stops_hands_all_back(stage: Stage, trainers: Trainers) -> None:
    job_id = submit_pack(stage.record, {"a": (GOOD, LONG), "b": (GOOD, LONG), "c": (GOOD, LONG)})
    with supervised(stage, claim_pack(stage), trainers):
        stage.stopping.set()
    assert [told(run) for run in runs_of(stage, job_id).values()] == [(State.QUEUED, 1, 0)] * 3


def test_a_time_limit_ends_all(stage: Stage, trainers: Trainers) -> None:
    plays = {"a": (GOOD, LONG), "b": (GOOD, LONG)}
    job_id = submit_pack(stage.record, plays, time_limit_seconds=1000)
    pack = claim_pack(stage)
    for claim in pack:
        claim.job.started_at = datetime.now(UTC) - timedelta(seconds=997)
    supervise(stage.context, pack, trainers)
    assert {run.reason for run in runs_of(stage, job_id).values()} == {Reason.TIME_LIMIT}


def test_a_worker_takes_packs_and_gives_each_process_its_part(record: Record) -> None:
    plays = {f"run-{n}": (GOOD, MANY) for n in range(6)}
    job_id = submit_pack(record, plays)
    with run_worker(record, worker_concurrency=2, worker_pack=10) as worker:
        assert record.wait_for_end(job_id, timeout=60).state is State.SUCCEEDED, worker.text()
    *runs, collation = record.runs(job_id)
    assert [told(run) for run in (*runs, collation)] == [(State.SUCCEEDED, 1, 0)] * 7
    assert [len(read_metrics(record.db, run.id)) for run in runs] == [MANY] * 6
    first_end = min(run.finished_at for run in runs if run.finished_at)
    assert sum(run.started_at < first_end for run in runs if run.started_at) >= 3


@pytest.mark.parametrize(("hardware", "sizes"), [("cpu", [3, 2, 1]), ("cuda", [6])])
def test_processes_that_share_a_gpu_do_not_share_a_pack(
    embedded_record: Record, hardware: Hardware, sizes: list[int]
) -> None:
    submit_pack(embedded_record, {f"run-{n}": (GOOD, MANY) for n in range(6)})
    settings = embedded_record.settings.model_copy(update={"worker_pack": 10})
    context = replace(Stage(embedded_record).context, settings=settings, hardware=hardware)
    packs: list[int] = []
    with mock.patch("worker.tasks.supervise", lambda _, pack: packs.append(len(pack))):
        work_off(context, Slots(2))
    assert packs == sizes


def test_a_worker_that_packs_nothing_takes_runs_one_by_one(embedded_record: Record) -> None:
    job_id = submit_pack(embedded_record, {"a": (GOOD, 3), "b": (GOOD, 3)})
    with run_worker(embedded_record, worker_pack=1) as worker:
        assert embedded_record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()
    first, second, _ = embedded_record.runs(job_id)
    assert first.finished_at is not None
    assert second.started_at is not None
    assert first.finished_at <= second.started_at


def test_a_recorder_that_looks_after_the_end_finds_no_loss(
    stage: Stage, trainers: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is written and the lease not yet released when the recorder looks: no loss."""
    release = Recorder.release

    def release_late(recorder: Recorder, lease: Lease) -> None:
        wait_until(lambda: lease in recorder.lost, 10, "a look at what has ended")
        release(recorder, lease)

    monkeypatch.setattr(Recorder, "release", release_late)
    submit_pack(stage.record, {"a": (GOOD, 3)})
    waiting = trainers._idle
    supervise(stage.context, claim_pack(stage), trainers)
    assert trainers._idle is waiting
