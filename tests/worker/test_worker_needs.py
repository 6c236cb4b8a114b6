"""Runs that need others: what they are given, and what becomes of them where one fails."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from unittest import mock

import pytest
from record_kit import run_named, states_of
from stages import Stage
from workers import DOUBLES, FAILS_ONCE, Record, run_worker

from fmx_ml.requests import JobRequest, parse_request, plan
from fmx_ml.trainings import PlannedRun
from fmx_store import claims, jobs, submissions
from fmx_store.blobs import BlobStore
from fmx_store.states import Reason, State
from fmx_store.tables import Run
from worker.supervisor import supervise

EPOCHS = 2


def submit(
    record: Record, needs: Mapping[str, Sequence[str]], fail_once: Collection[str] = ()
) -> str:
    """A job whose trainings need others, {"a": (), "b": ("a",)}; some fail at first."""
    spec = {"seeds": list(range(len(needs))), "max_epochs": EPOCHS, "dataset": "synthetic"}
    asked = parse_request({"kind": "q1", "spec": spec})
    planned: list[PlannedRun] = []
    for (name, needed), run in zip(needs.items(), plan(asked), strict=True):
        play = FAILS_ONCE if name in fail_once else run.training.split_seed
        training = run.training.model_copy(update={"split_seed": play})
        planned.append(PlannedRun(name=name, training=training, needs=tuple(needed)))
    return submit_planned(record, asked, planned)


def submit_planned(record: Record, asked: JobRequest, planned: Sequence[PlannedRun]) -> str:
    with mock.patch("fmx_store.submissions.plan", return_value=tuple(planned)):
        return jobs.submit(record.db, asked, 100).job.id


def summary_of(run: Run) -> dict[str, object]:
    assert run.summary is not None, run.error
    return run.summary


def test_a_run_gets_what_it_needs_in_the_plans_order(record: Record) -> None:
    job_id = submit(record, {"b": (), "a": (), "c": (), "last": ("c", "a", "b"), "lone": ()})
    with run_worker(record) as worker:
        assert record.wait_for_end(job_id).state is State.SUCCEEDED, worker.text()
    by_name = {run.name: summary_of(run) for run in record.runs(job_id)[:-1]}
    assert by_name["last"]["needed"] == [
        [name, [1, 2], 1, f"model.onnx of seed {seed}"] for seed, name in enumerate("bac")
    ]
    assert by_name["lone"]["needed"] == by_name["a"]["needed"] == []


def test_a_failed_run_fails_what_needs_it_and_a_retry_does_what_is_missing(record: Record) -> None:
    needs = {"good": (), "bad": (), "child": ("bad",), "grandchild": ("child",), "kin": ("good",)}
    job_id = submit(record, needs, fail_once={"bad"})
    with run_worker(record) as worker:
        job = record.wait_for_end(job_id)
        assert states_of(record.db, job_id) == {
            "good": "succeeded",
            "bad": "failed",
            "child": "failed",
            "grandchild": "failed",
            "kin": "succeeded",
            "collation": "succeeded",
        }, worker.text()
        assert (job.state, job.reason) == (State.FAILED, Reason.NAN_LOSS)
        assert job.error is not None
        assert (job.error["run"], job.error["code"]) == ("bad", "nan_loss")
        assert job.results is not None
        assert [row[0] for row in job.results["tables"][0]["rows"]] == ["good", "kin"]
        for name in ("child", "grandchild"):
            run = run_named(record.db, job_id, name)
            assert run.error == {
                "code": "dependency_failed",
                "message": "run bad did not succeed",
            }

        jobs.retry(record.db, job_id)
        again = record.wait_for_end(job_id)
        assert again.state is State.SUCCEEDED, worker.text()
    attempts = {run.name: run.attempt for run in record.runs(job_id)}
    assert attempts == {
        "good": 1, "bad": 2, "child": 1, "grandchild": 1, "kin": 1, "collation": 2,
    }  # fmt: skip
    assert again.results is not None
    assert [row[0] for row in again.results["tables"][0]["rows"]] == list(needs)
    child = summary_of(run_named(record.db, job_id, "child"))
    assert child["needed"] == [["bad", [1, 2], 2, "model.onnx of seed 1"]]


def copy_blob(blobs: BlobStore, sha256: str, to: Path) -> Path:
    """What a store does whose blobs are no local files."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with blobs.open(sha256) as source:
        to.write_bytes(source.read())
    return to


def test_files_of_a_store_without_paths_are_copied(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLES))
    monkeypatch.setattr(type(stage.context.blobs), "fetch", copy_blob)
    job_id = submit(stage.record, {"a": (), "b": ("a",)})
    for _ in range(3):
        claim = stage.claim_again()
        supervise(stage.context, [claim])
    assert stage.record.job(job_id).state is State.SUCCEEDED
    last = summary_of(run_named(stage.record.db, job_id, "b"))
    assert last["needed"] == [["a", [1, 2], 1, "model.onnx of seed 0"]]
    assert list(stage.record.settings.scratch_dir.iterdir()) == []


def test_a_real_run_starts_from_the_weights_of_another_jobs_run(stage: Stage) -> None:
    common = {"dataset": "synthetic", "max_epochs": 1}
    network = {"model": {"conv_layers": 1, "dense_layers": 1}, "batch_size": 500}
    source = stage.claim(epochs=1, spec={**common, **network})
    supervise(stage.context, [source])
    assert stage.run_of(source).state is State.SUCCEEDED, stage.run_of(source).error
    jobs.cancel(stage.record.db, source.job.id)

    spec = {"best": network, "fractions": [50], "starts": ["frozen"], "final_percent": 50}
    asked = parse_request(
        {"kind": "q5", "spec": {**common, **spec, "source_run": source.lease.run_id}}
    )
    planned = submissions.plan_runs(stage.record.db, asked, 100)
    wanted = [run for run in planned if run.taken_from or "frozen" in run.name]
    submit_planned(stage.record, asked, wanted)
    claim = stage.claim_again()
    supervise(stage.context, [claim])
    run = stage.run_of(claim)
    assert run.name == "frozen-050-seed-0"
    assert run.state is State.SUCCEEDED, run.error
    assert summary_of(run)["epochs"] == 1


def test_nothing_is_claimed_before_what_it_needs(stage: Stage) -> None:
    submit(stage.record, {"a": (), "b": ("a",)})
    claim = stage.claim_again()
    assert claim.run.name == "a"
    assert claims.claim(stage.record.db, "tester", ("auto", "cpu")) is None
