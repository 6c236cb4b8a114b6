"""What a job leaves: taken over by an equal one, and deleted with it."""

from pathlib import Path

import pytest
from record_kit import (
    FAILED,
    check_record,
    claim,
    dump,
    epoch,
    finish_all,
    request,
    run_named,
    submit,
    together,
)

from fmx_store import artifacts, claims, jobs, metrics, models
from fmx_store.blobs import FolderStore
from fmx_store.claims import Success
from fmx_store.database import Database, Ring
from fmx_store.errors import NotFoundError
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.states import State


@pytest.mark.parametrize("state", ["queued", "ended"])
def test_a_deleted_job_leaves_nothing_but_events(
    db: Database, blobs: FolderStore, tmp_path: Path, state: str
) -> None:
    before = {**dump(db), "event": []}
    job = jobs.submit(db, request(seeds=2, tags=["t"]), 10, IdempotencyKey("k", "h")).job
    if state == "ended":
        train(db, blobs, tmp_path, "seed")
        finish_all(db, job.id)
    files = jobs.remove(db, job.id)
    assert len(files) == (2 if state == "ended" else 0)
    assert artifacts.collect(db, blobs, files) == len(files)
    assert {**dump(db), "event": []} == before
    assert list(blobs.digests()) == []
    with pytest.raises(NotFoundError):
        jobs.remove(db, job.id)


def train(db: Database, blobs: FolderStore, folder: Path, text: str) -> claims.Claim:
    """Does the next run: three epochs, two files, a model."""
    claimed = claim(db)
    claims.record_progress(db, claimed.lease, [epoch(n) for n in (1, 2, 3)])
    files: dict[str, Path] = {}
    for name in ("model.onnx", "log.txt"):
        path = folder / f"{claimed.run.id}-{name}"
        path.write_text(f"{text} {name}")
        files[f"{claimed.run.name}/{name}"] = path
    staged = artifacts.stage(db, blobs, claimed.lease, files)
    success = Success({"val_accuracy": 0.5, "test_accuracy": 0.25}, staged, model=True)
    claims.finish(db, claimed.lease, success)
    return claimed


def test_a_reused_run_has_all_that_the_first_one_left(
    db: Database, blobs: FolderStore, tmp_path: Path, rings: list[Ring]
) -> None:
    first = submit(db, spec={"seeds": [900_001]})
    source = train(db, blobs, tmp_path, "first").run
    finish_all(db, first.id)
    rings.clear()
    job = submit(db, spec={"seeds": [900_000, 900_001]}, reuse=True)
    check_record(db)
    fresh, reused, collation = jobs.list_runs(db, job.id)
    assert (fresh.state, reused.state) == (State.QUEUED, State.SUCCEEDED)
    assert reused.reused_from == source.id
    assert (reused.epochs_done, reused.epochs_total, reused.attempt) == (3, 3, 0)
    assert reused.summary == {"val_accuracy": 0.5, "test_accuracy": 0.25}
    assert collation.waiting_for == 1
    assert rings == [(fresh.id, "cpu")]
    assert metrics.read_metrics(db, reused.id) == metrics.read_metrics(db, source.id)
    assert set(artifacts.artifacts_of_run(db, reused.id)) == {"model.onnx", "log.txt"}
    [model] = models.list_models(db, job_id=job.id).items
    assert (model.run_id, model.test_accuracy) == (reused.id, 0.25)
    # The first may go: what is shared stays.
    assert artifacts.collect(db, blobs, jobs.remove(db, first.id)) == 0
    for artifact in artifacts.list_artifacts(db, job.id):
        with blobs.open(artifact.sha256) as file:
            assert file.read().startswith(b"first")
    assert finish_all(db, job.id).state is State.SUCCEEDED
    third = submit(db, spec={"seeds": [900_001]}, reuse=True)
    assert jobs.list_runs(db, third.id)[0].reused_from == source.id


def test_a_job_of_which_all_is_reused_is_collated_at_once(
    db: Database, blobs: FolderStore, tmp_path: Path, rings: list[Ring]
) -> None:
    first = submit(db, spec={"seeds": [800_000]})
    train(db, blobs, tmp_path, "first")
    finish_all(db, first.id)
    rings.clear()
    job = submit(db, spec={"seeds": [800_000]}, reuse=True)
    collation = run_named(db, job.id, "collation")
    assert rings == [(collation.id, "cpu")]
    assert job.state is State.RUNNING
    assert finish_all(db, job.id).state is State.SUCCEEDED
    check_record(db)


def test_nothing_is_reused_that_failed_or_was_not_asked_for(db: Database) -> None:
    finish_all(db, submit(db, spec={"seeds": [700_000]}).id, {"seed-700000": FAILED})
    finish_all(db, submit(db, spec={"seeds": [700_001]}).id)
    job = submit(db, spec={"seeds": [700_000]}, reuse=True)
    assert jobs.list_runs(db, job.id)[0].state is State.QUEUED
    job = submit(db, spec={"seeds": [700_001]})
    assert jobs.list_runs(db, job.id)[0].reused_from is None


def test_what_is_reused_may_be_deleted_at_the_same_time(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    """The copy is whole or not made at all, and its files can be read."""
    outcomes: set[bool] = set()
    for number in range(12):
        seed = 600_000 + number
        first = submit(db, spec={"seeds": [seed]})
        train(db, blobs, tmp_path, f"number {number}")
        finish_all(db, first.id)
        asked = request(spec={"seeds": [seed]}, reuse=True)
        submitted, _ = together(
            lambda asked=asked: jobs.submit(db, asked, 10),
            lambda first=first: artifacts.collect(db, blobs, jobs.remove(db, first.id)),
        )
        assert not isinstance(submitted, Exception), submitted
        run = jobs.list_runs(db, submitted.job.id)[0]
        outcomes.add(run.reused_from is not None)
        if run.reused_from is not None:
            assert len(metrics.read_metrics(db, run.id)) == 3
            found = artifacts.artifacts_of_run(db, run.id)
            assert set(found) == {"model.onnx", "log.txt"}
            for artifact in found.values():
                with blobs.open(artifact.sha256) as file:
                    assert file.read().startswith(f"number {number}".encode())
        check_record(db)
        finish_all(db, submitted.job.id)
        jobs.remove(db, submitted.job.id)
    assert outcomes
