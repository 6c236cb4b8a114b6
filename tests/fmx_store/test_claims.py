"""Claims: who gets which run, and what a worker does with it."""

from typing import Any

import pytest
from record_kit import (
    CPU,
    CRASHES,
    FAILED,
    add_all,
    check_record,
    claim,
    epoch,
    lease_of,
    run_named,
    states_of,
    submit,
    submit_plan,
    version_of,
)
from sqlmodel import col, select

from fmx_store import claims, jobs, metrics
from fmx_store.claims import Failure, Heartbeat, Lease, StagedFile, Success
from fmx_store.database import Database, Ring
from fmx_store.errors import LeaseLostError, NotFoundError
from fmx_store.progress import MAX_PHASE
from fmx_store.states import Reason, State
from fmx_store.tables import Artifact, Blob, Event, Model, Run, now

SHA = "ab" * 32


def test_claims_go_by_priority_then_age_then_place(db: Database) -> None:
    wanted: list[tuple[int, str, int]] = []
    for priority in (5, 9, 0, 5, 9):
        job = submit(db, seeds=2, priority=priority)
        wanted += [(-priority, job.id, 0), (-priority, job.id, 1)]
    order: list[tuple[str, int]] = []
    while (claimed := claims.claim(db, "w", CPU)) is not None:
        order.append((claimed.job.id, claimed.run.position))
    assert order == [(job_id, position) for _, job_id, position in sorted(wanted)]


def test_a_claim_returns_the_run_as_it_is_then(db: Database) -> None:
    job = submit(db)
    claimed = claim(db, "host-1")
    assert claimed.lease == Lease(run_id=claimed.run.id, job_id=job.id, attempt=1)
    assert (claimed.run.state, claimed.job.state) == (State.RUNNING, State.RUNNING)
    assert (claimed.run.worker, claimed.run.phase) == ("host-1", "starting")
    assert claimed.run.training is not None
    assert claimed.job.spec["dataset"] == "fashion-mnist"
    stored = jobs.require_run(db, claimed.run.id)
    assert stored.model_dump() == claimed.run.model_dump()
    assert jobs.require_job(db, job.id).model_dump() == claimed.job.model_dump()


def test_a_worker_gets_only_what_its_devices_can_do(db: Database) -> None:
    submit(db, spec={"device": "cuda"}, priority=9)
    anywhere = submit(db)
    assert claim(db).lease.job_id == anywhere.id
    assert claims.claim(db, "w", CPU) is None
    assert claims.claim(db, "w", ()) is None
    assert claims.claim(db, "gpu", ("auto", "cuda")) is not None


def test_nothing_is_claimed_where_nothing_is_due(db: Database) -> None:
    assert claims.claim(db, "w", CPU) is None
    job = submit_plan(db, {"a": (), "b": ("a",)})
    assert claim(db).run.name == "a"
    assert claims.claim(db, "w", CPU) is None
    assert states_of(db, job.id)["b"] is State.QUEUED


def test_names_that_are_too_long_are_cut(db: Database) -> None:
    submit(db)
    claimed = claim(db, "w" * 500)
    claims.record_progress(db, claimed.lease, phase="p" * 500)
    stored = jobs.require_run(db, claimed.run.id)
    assert (stored.worker, stored.phase) == ("w" * claims.MAX_WORKER, "p" * MAX_PHASE)


def test_beats_count_up_and_carry_the_cancel(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    assert claims.active(db) == [Heartbeat(lease.run_id, job.id, 1, 0)]
    assert claims.beat(db, lease) is State.RUNNING
    assert claims.active(db) == [Heartbeat(lease.run_id, job.id, 1, 1)]
    version = version_of(db, job.id)
    assert claims.beat(db, lease) is State.RUNNING
    assert version_of(db, job.id) == version
    jobs.cancel(db, job.id)
    assert claims.beat(db, lease) is State.CANCELLING
    assert claims.record_progress(db, lease, [epoch(1)]) is State.CANCELLING


def test_progress_is_written_once_however_often_it_is_sent(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    before, _ = version_of(db, job.id)
    claims.record_progress(db, lease, [epoch(1), epoch(2)], phase="training")
    claims.record_progress(db, lease, [epoch(2, seconds=1.5), epoch(3, seconds=0.5)])
    assert [m.epoch for m in metrics.read_metrics(db, lease.run_id)] == [1, 2, 3]
    assert metrics.read_metrics(db, lease.run_id)[1].seconds == 1.5
    run = jobs.require_run(db, lease.run_id)
    assert (run.epochs_done, run.phase, run.seconds_per_epoch) == (3, "training", 1.0)
    assert version_of(db, job.id)[0] == before + 2
    claims.record_progress(db, lease, [epoch(1)])
    assert jobs.require_run(db, lease.run_id).epochs_done == 3


def test_progress_without_news_is_a_beat(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    before = version_of(db, job.id)
    claims.record_progress(db, lease)
    assert claims.active(db)[0].beat == 1
    assert version_of(db, job.id) == before


def test_figures_that_are_not_finite_are_written_as_none(db: Database) -> None:
    submit(db)
    lease = claim(db).lease
    claims.record_progress(db, lease, [epoch(1, train_loss=float("nan"), val_loss=float("inf"))])
    [read] = metrics.read_metrics(db, lease.run_id)
    assert (read.train_loss, read.val_loss, read.seconds) == (None, None, 0.5)


def test_a_second_attempt_starts_with_nothing(db: Database) -> None:
    submit(db)
    first = claim(db)
    claims.record_progress(db, first.lease, [epoch(n) for n in range(1, 6)])
    assert claims.hand_back(db, first.lease) is State.QUEUED
    second = claim(db, "other")
    assert (second.run.id, second.lease.attempt) == (first.run.id, 2)
    assert (second.run.epochs_done, second.run.seconds_per_epoch) == (0, None)
    assert second.run.started_at == first.run.started_at
    assert metrics.read_metrics(db, second.run.id) == []
    check_record(db)


def test_a_success_leaves_summary_files_and_a_model(db: Database) -> None:
    job = submit(db)
    claimed = claim(db)
    add_all(db, [Blob(sha256=SHA, size_bytes=3)])
    claims.record_progress(db, claimed.lease, [epoch(1), epoch(2)])
    file = StagedFile(f"{claimed.run.name}/model.onnx", SHA, 3, "application/octet-stream")
    success = Success({"test_accuracy": 0.98, "val_accuracy": 0.99}, [file], model=True)
    assert claims.finish(db, claimed.lease, success) is State.SUCCEEDED
    run = jobs.require_run(db, claimed.run.id)
    assert run.summary == success.summary
    assert (run.epochs_done, run.epochs_total) == (2, 2)
    with db.read() as session:
        [artifact] = session.exec(select(Artifact)).all()
        [model] = session.exec(select(Model)).all()
    assert (artifact.path, artifact.run_id, artifact.job_id) == (file.path, run.id, job.id)
    assert (model.run_id, model.test_accuracy, model.dataset) == (run.id, 0.98, "fashion-mnist")
    check_record(db)


def test_what_a_collation_made_is_the_jobs_result(db: Database) -> None:
    job = submit(db)
    claims.finish(db, claim(db).lease, Success())
    collation = claim(db)
    results = {"tables": [{"z": 1, "a": [0.1, 1e30, None]}]}
    claims.finish(db, collation.lease, Success(results=results))
    ended = jobs.require_job(db, job.id)
    assert (ended.state, ended.results) == (State.SUCCEEDED, results)
    assert ended.results is not None
    assert list(ended.results["tables"][0]) == ["z", "a"]
    assert isinstance(ended.results["tables"][0]["a"][1], float)


def test_a_failure_keeps_what_was_said_even_if_no_database_could(db: Database) -> None:
    job = submit(db)
    message = "file \udcff\0 is " + "long" * 5000
    failure = Failure(Reason.DISK_FULL, "disk_full", message, traceback="x" * 50_000 + "\0end")
    assert claims.finish(db, claim(db).lease, failure) is State.FAILED
    ended = jobs.require_job(db, job.id)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.DISK_FULL)
    assert ended.error is not None
    assert ended.error["code"] == "disk_full"
    assert ended.error["message"].startswith("file ?\ufffd is longlong")
    assert len(ended.error["message"]) == claims.MAX_MESSAGE
    assert ended.error["traceback"].endswith("\ufffdend")
    assert len(ended.error["traceback"]) == claims.MAX_TRACEBACK


@pytest.mark.parametrize("outcome", [Success(results={"a": 1}), FAILED])
def test_a_cancelled_run_ends_as_cancelled_whatever_it_did(db: Database, outcome: Any) -> None:
    job = submit(db)
    lease = claim(db).lease
    jobs.cancel(db, job.id)
    assert claims.finish(db, lease, outcome) is State.CANCELLED
    ended = jobs.require_job(db, job.id)
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.CANCELLED_BY_USER)
    assert ended.results is None
    check_record(db)


def test_a_handed_back_run_is_due_at_once_and_no_crash(db: Database, rings: list[Ring]) -> None:
    submit(db)
    lease = claim(db).lease
    rings.clear()
    claims.hand_back(db, lease)
    run = jobs.require_run(db, lease.run_id)
    assert (run.state, run.crashes, run.worker, run.phase) == (State.QUEUED, 0, None, "queued")
    assert rings == [(run.id, "cpu")]
    check_record(db)


@pytest.mark.parametrize("how", ["report", "silence"])
def test_the_third_crash_is_the_last(db: Database, how: str) -> None:
    job = submit(db)
    run = run_named(db, job.id, "collation")
    for crash in range(1, CRASHES + 1):
        lease = claim(db).lease
        if how == "report":
            claims.report_crash(db, lease, "killed by signal 9", CRASHES)
        else:
            assert claims.take_back(db, claims.active(db)[0], CRASHES)
        run = jobs.require_run(db, lease.run_id)
        assert run.crashes == crash
        assert run.state is (State.FAILED if crash == CRASHES else State.QUEUED)
    assert run.reason is Reason.WORKER_LOST
    assert run.error is not None
    assert "3 times" in run.error["message"]
    ended = jobs.require_job(db, job.id)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.WORKER_LOST)
    check_record(db)


def test_a_crash_while_cancelling_is_the_cancel(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    jobs.cancel(db, job.id)
    assert claims.report_crash(db, lease, "killed", CRASHES) is State.CANCELLED
    assert jobs.require_job(db, job.id).state is State.CANCELLED
    check_record(db)


def test_a_run_that_moved_since_it_was_seen_is_not_taken_back(db: Database) -> None:
    submit(db)
    lease = claim(db).lease
    seen = claims.active(db)[0]
    claims.beat(db, lease)
    assert not claims.take_back(db, seen, CRASHES)
    seen = claims.active(db)[0]
    claims.hand_back(db, lease)
    assert not claims.take_back(db, seen, CRASHES)
    claim(db)
    assert not claims.take_back(db, seen, CRASHES)
    assert jobs.require_run(db, lease.run_id).crashes == 0


def test_events_tell_who_had_a_run_when(db: Database) -> None:
    job = submit(db)
    claims.report_crash(db, claim(db, "first").lease, "killed", CRASHES)
    lease = claim(db, "second").lease
    claims.finish(db, lease, Success())
    with db.read() as session:
        mine = (Event.run_id == lease.run_id, Event.type == "run")
        query = select(Event).where(*mine).order_by(col(Event.seq))
        told = [
            (e.data["state"], e.attempt, e.data["worker"], e.data["crashes"])
            for e in session.exec(query)
        ]
    assert told == [
        ("running", 1, "first", 0),
        ("queued", 1, "first", 1),
        ("running", 2, "second", 1),
        ("succeeded", 2, "second", 1),
    ]
    assert jobs.require_job(db, job.id).version >= len(told)


def test_a_lease_of_nothing_is_lost(db: Database) -> None:
    job = submit(db)
    run = run_named(db, job.id, "collation")
    for lease in (lease_of(run), Lease("0" * 26, job.id, 0), Lease(run.id, "0" * 26, 0)):
        with pytest.raises(LeaseLostError):
            claims.beat(db, lease)
        with pytest.raises(LeaseLostError):
            claims.record_progress(db, lease)
    with pytest.raises(NotFoundError):
        jobs.require_run(db, run.id)


def test_the_time_of_a_claim_is_kept_to_the_microsecond(db: Database) -> None:
    submit(db)
    before = now()
    started = claim(db).run.started_at
    assert started is not None
    with db.read() as session:
        stored = session.exec(select(Run.started_at).where(col(Run.started_at).is_not(None))).one()
    assert stored == started
    assert before <= started <= now()
    assert started.tzinfo is not None
