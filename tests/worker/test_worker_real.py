"""Real trainings under real workers, from the submitted job to all it leaves."""

from collections.abc import Sequence

import pytest
from workers import Record, has_loaded, run_worker, wait_until

from fmx_store.artifacts import list_artifacts
from fmx_store.metrics import read_metrics
from fmx_store.models import list_models
from fmx_store.states import State

COMMANDS = {
    "embedded": ("-m", "worker"),
    "engines": ("-m", "celery", "-A", "worker.app", "worker", "--loglevel=INFO"),
}
OF_A_RUN = {"model.onnx", "model.safetensors", "model.json", "history.csv", "log.txt"}
OF_A_JOB = {"results.json", "manifest.json", "figure-1-loss.png", "figure-3-confusion.csv"}


def test_a_job_leaves_metrics_files_a_model_and_results(record: Record) -> None:
    command: Sequence[str] = COMMANDS[record.column.name]
    spec = {"dataset": "synthetic", "batch_size": 500}
    job_id = record.submit(epochs=2, spec=spec)
    with run_worker(record, command=command, doubles=False) as worker:
        (trainer,) = wait_until(worker.trainers, 20, "a trainer", worker)
        wait_until(lambda: has_loaded(trainer, "libtorch"), 20, "torch", worker)
        others = [worker.process.pid, *worker.pool()]
        assert len(others) == 2
        assert not any(has_loaded(pid, "libtorch") for pid in others)
        job = record.wait_for_end(job_id, timeout=90)
        scratch = record.settings.scratch_dir
        wait_until(lambda: not list(scratch.iterdir()), 5, "an empty scratch folder", worker)
    run, collation = record.runs(job_id)
    assert (job.state, run.state, collation.state) == (State.SUCCEEDED,) * 3, run.error
    assert (run.attempt, run.crashes, run.epochs_done) == (1, 0, 2)
    assert run.summary is not None

    metrics = read_metrics(record.db, run.id)
    assert [m.epoch for m in metrics] == [1, 2]
    assert metrics[-1].val_loss == pytest.approx(run.summary["last"]["val_loss"])
    paths = {artifact.path for artifact in list_artifacts(record.db, job_id)}
    assert {f"seed-0/{name}" for name in OF_A_RUN} | OF_A_JOB < paths

    (model,) = list_models(record.db, job_id=job_id).items
    assert model.test_accuracy == run.summary["test_accuracy"] > 0.2
    assert job.results is not None
    assert job.results["dataset"] == "synthetic"
    assert job.results["tables"]
    assert job.results["comparisons"]
