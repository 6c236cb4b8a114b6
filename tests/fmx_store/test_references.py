"""Runs of other jobs that a spec names: found, refused, taken over, and gone."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from record_kit import (
    FAILED,
    check_record,
    claim,
    dump,
    epoch,
    finish_all,
    run_named,
    states_of,
    submit,
    together,
)

from fmx_ml.questions import MisfitError
from fmx_ml.requests import JobRequest, parse_request
from fmx_store import artifacts, claims, jobs, metrics, models, submissions
from fmx_store.blobs import FolderStore
from fmx_store.claims import Success
from fmx_store.database import Database, Ring
from fmx_store.errors import UnfinishedRunError, UnknownRunError
from fmx_store.needs import list_needed
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.states import State
from fmx_store.tables import Run

SHAPE: dict[str, Any] = {"model": {"conv_layers": 1, "dense_layers": 3}}
TAKEN = "source-taken"


def transfer_from(run_id: str, **values: Any) -> JobRequest:
    """A job of Q5 with one training that starts from a run of another job."""
    spec = {"fractions": [50], "starts": ["frozen"], "final_percent": 50, "source_run": run_id}
    return parse_request({"kind": "q5", "spec": spec, **values})


def train(db: Database, blobs: FolderStore, folder: Path, **values: Any) -> Run:
    """A finished run that Q5 can start from: two epochs, a file, a model."""
    job = submit(db, spec=SHAPE, **values)
    claimed = claim(db)
    claims.record_progress(db, claimed.lease, [epoch(1), epoch(2)])
    path = folder / claimed.run.id
    path.write_text(f"weights of {claimed.run.id}")
    files = {f"{claimed.run.name}/model.onnx": path}
    staged = artifacts.stage(db, blobs, claimed.lease, files)
    claims.finish(db, claimed.lease, Success({"test_accuracy": 0.25}, staged, model=True))
    finish_all(db, job.id)
    return jobs.require_run(db, claimed.run.id)


def test_a_named_run_is_taken_over_whether_or_not_reuse_is_asked_for(
    db: Database, blobs: FolderStore, tmp_path: Path, rings: list[Ring]
) -> None:
    source = train(db, blobs, tmp_path)
    rings.clear()
    job = jobs.submit(db, transfer_from(source.id), 10).job
    check_record(db)
    taken = run_named(db, job.id, TAKEN)
    assert (taken.state, taken.reused_from, taken.attempt) == (State.SUCCEEDED, source.id, 0)
    assert (taken.training, taken.summary) == (source.training, source.summary)
    assert (taken.epochs_done, taken.epochs_total) == (2, 2)
    assert metrics.read_metrics(db, taken.id) == metrics.read_metrics(db, source.id)
    [model] = models.list_models(db, job_id=job.id).items
    assert (model.run_id, model.run_name, model.kind) == (taken.id, TAKEN, "q5")
    [file] = artifacts.list_artifacts(db, job.id)
    assert file.path == f"{TAKEN}/model.onnx"
    # What needs it is due at once.
    transferred = run_named(db, job.id, "frozen-050-seed-0")
    assert transferred.waiting_for == 0
    assert [run.id for run in list_needed(db, transferred)] == [taken.id]
    assert (transferred.id, "cpu") in rings
    assert finish_all(db, job.id).state is State.SUCCEEDED


def test_what_was_taken_over_outlives_its_source(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    source = train(db, blobs, tmp_path)
    job = jobs.submit(db, transfer_from(source.id), 10).job
    artifacts.collect(db, blobs, jobs.remove(db, source.job_id))
    taken = run_named(db, job.id, TAKEN)
    file = artifacts.artifacts_of_run(db, taken.id)["model.onnx"]
    with blobs.open(file.sha256) as opened:
        assert opened.read() == f"weights of {source.id}".encode()
    again = jobs.submit(db, transfer_from(taken.id), 10).job
    assert run_named(db, again.id, TAKEN).reused_from == source.id
    check_record(db)


def test_runs_that_do_not_exist_or_train_nothing_are_unknown(db: Database) -> None:
    job = submit(db, spec=SHAPE)
    finish_all(db, job.id)
    before = dump(db)
    for run_id in ("0" * 26, job.id, run_named(db, job.id, "collation").id):
        with pytest.raises(UnknownRunError) as caught:
            jobs.submit(db, transfer_from(run_id), 10)
        assert (caught.value.place, caught.value.run_id) == ("source_run", run_id)
    assert dump(db) == before


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_runs_that_have_not_succeeded_are_refused(db: Database, state: str) -> None:
    job = submit(db, spec=SHAPE)
    run = jobs.list_runs(db, job.id)[0]
    if state in {"running", "failed"}:
        lease = claim(db).lease
        if state == "failed":
            claims.finish(db, lease, FAILED)
    if state == "cancelled":
        jobs.cancel(db, job.id)
    assert jobs.require_run(db, run.id).state == state
    before = dump(db)
    with pytest.raises(UnfinishedRunError, match=f"{run.id} is {state}") as caught:
        jobs.submit(db, transfer_from(run.id), 10)
    assert caught.value.place == "source_run"
    assert dump(db) == before


def test_a_run_that_does_not_fit_is_refused(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    source = train(db, blobs, tmp_path)
    best = {"model": {"conv_layers": 2, "dense_layers": 3}}
    asked = parse_request({"kind": "q5", "spec": {"source_run": source.id, "best": best}})
    before = dump(db)
    with pytest.raises(MisfitError) as caught:
        jobs.submit(db, asked, 1000)
    assert caught.value.field == "source_run"
    assert dump(db) == before


def test_a_run_that_goes_between_plan_and_record_leaves_no_job(
    db: Database, blobs: FolderStore, tmp_path: Path, rings: list[Ring]
) -> None:
    source = train(db, blobs, tmp_path)
    asked = transfer_from(source.id)
    planned = submissions.plan_runs(db, asked, 10)
    artifacts.collect(db, blobs, jobs.remove(db, source.job_id))
    before = dump(db)
    rings.clear()
    as_before = mock.patch("fmx_store.submissions.plan_runs", return_value=planned)
    with as_before, pytest.raises(UnknownRunError) as caught:
        jobs.submit(db, asked, 10)
    assert (caught.value.place, caught.value.run_id) == ("source_run", source.id)
    assert dump(db) == before
    assert rings == []


def test_a_named_run_may_be_deleted_at_the_same_time(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    """The job has all of it, or there is no job."""
    for _ in range(12):
        source = train(db, blobs, tmp_path)
        asked = transfer_from(source.id)
        submitted, _ = together(
            lambda asked=asked: jobs.submit(db, asked, 10),
            lambda source=source: artifacts.collect(db, blobs, jobs.remove(db, source.job_id)),
        )
        check_record(db)
        if isinstance(submitted, Exception):
            assert isinstance(submitted, UnknownRunError)
            assert jobs.list_jobs(db, kind="q5").items == []
            continue
        taken = run_named(db, submitted.job.id, TAKEN)
        assert len(metrics.read_metrics(db, taken.id)) == 2
        [file] = artifacts.artifacts_of_run(db, taken.id).values()
        with blobs.open(file.sha256) as opened:
            assert opened.read() == f"weights of {source.id}".encode()
        finish_all(db, submitted.job.id)
        artifacts.collect(db, blobs, jobs.remove(db, submitted.job.id))


def test_a_key_answers_though_the_named_run_has_gone(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    source = train(db, blobs, tmp_path)
    key = IdempotencyKey("k", "h")
    first = jobs.submit(db, transfer_from(source.id), 10, key)
    jobs.remove(db, source.job_id)
    again = jobs.submit(db, transfer_from(source.id), 10, key)
    assert (again.replayed, again.job.id) == (True, first.job.id)


def test_reuse_goes_on_beside_a_named_run(db: Database, blobs: FolderStore, tmp_path: Path) -> None:
    source = train(db, blobs, tmp_path)
    first = jobs.submit(db, transfer_from(source.id), 10).job
    finish_all(db, first.id)
    again = jobs.submit(db, transfer_from(source.id, reuse=True), 10).job
    done = {name for name, state in states_of(db, again.id).items() if state is State.SUCCEEDED}
    assert done == {run.name for run in jobs.list_runs(db, first.id)} - {"collation"}
    assert run_named(db, again.id, TAKEN).reused_from == source.id
    assert finish_all(db, again.id).state is State.SUCCEEDED
    check_record(db)
