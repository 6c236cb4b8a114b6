import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ml_cases import FinishedJob, make_training
from safetensors.numpy import load_file

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.evaluate import measure, to_device
from fmx_ml.errors import DivergedError, OutOfMemoryError, StoppedError, UserError
from fmx_ml.export import load_model, run_onnx
from fmx_ml.models.cnn import Cnn
from fmx_ml.pipelines import cnn, common, train
from fmx_ml.sinks import FolderSink

ARTIFACTS = {
    "model.safetensors",
    "model.json",
    "model.onnx",
    "test-set.safetensors",
    "test-predictions.csv",
    "history.csv",
    "feature-maps.safetensors",
}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def summary(three_seeds: FinishedJob) -> dict[str, Any]:
    return three_seeds.outcomes[0].summary


@pytest.fixture
def folder(three_seeds: FinishedJob) -> Path:
    return three_seeds.folder / "seed-0"


def test_artifacts(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == ARTIFACTS


def test_phases_and_artifacts_go_to_the_sink(
    small: HalfData, sources: DataSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "load_half", lambda *_: small)
    sink = FolderSink(tmp_path)
    train(make_training(max_epochs=1), sink, sources=sources, device="cpu", num_threads=1)
    assert sink.phases == ["data", "training", "evaluation", "export"]
    assert set(sink.artifacts) == ARTIFACTS
    assert len(sink.artifacts) == len(ARTIFACTS)


def test_the_summary_is_json_with_finite_numbers(summary: dict[str, Any]) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_summary_is_of_the_model_that_is_left(
    summary: dict[str, Any], folder: Path, small: HalfData
) -> None:
    """Every figure measured again with the model that the files rebuild."""
    model = load_model(folder)
    cpu = torch.device("cpu")
    for name, part in (
        ("val", small.val), ("test", small.test), ("best_weights_train", small.train),
    ):  # fmt: skip
        loss, accuracy = measure(model, to_device(part, cpu), lambda: None)
        assert summary[f"{name}_loss"] == pytest.approx(loss, abs=1e-5)
        assert summary[f"{name}_accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert summary["num_parameters"] == 17_813


def test_the_summary_is_of_the_history(summary: dict[str, Any], three_seeds: FinishedJob) -> None:
    history = three_seeds.outcomes[0].history
    best = min(history, key=lambda metrics: metrics.val_loss or 0)
    assert summary["epochs"] == 4
    assert summary["best_epoch"] == best.epoch
    assert summary["train_accuracy"] == best.train_accuracy
    assert summary["val_loss"] == best.val_loss
    assert summary["last"]["epoch"] == 4
    assert summary["last"]["val_accuracy"] == history[-1].val_accuracy
    assert summary["stopped_early"] is False


def test_confusion_and_scores_agree_with_the_accuracy(summary: dict[str, Any]) -> None:
    confusion = np.array(summary["confusion"])
    assert confusion.sum(1).tolist() == [100] * 5
    assert confusion.trace() / 500 == summary["test_accuracy"]
    for label, scores in enumerate(summary["per_class"]):
        assert scores["recall"] == confusion[label, label] / 100
        assert scores["support"] == 100


def test_predictions_agree_with_the_confusion(summary: dict[str, Any], folder: Path) -> None:
    rows = read_csv(folder / "test-predictions.csv")
    assert [int(row["row"]) for row in rows] == list(range(500))
    confusion = np.zeros((5, 5), dtype=int)
    for row in rows:
        confusion[int(row["label"]), int(row["predicted"])] += 1
        assert 0.2 <= float(row["probability"]) <= 1
    assert confusion.tolist() == summary["confusion"]


def test_history_as_csv(folder: Path, three_seeds: FinishedJob) -> None:
    rows = read_csv(folder / "history.csv")
    assert list(rows[0]) == [
        "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds",
    ]  # fmt: skip
    losses = [metrics.val_loss for metrics in three_seeds.outcomes[0].history]
    assert [float(row["val_loss"]) for row in rows] == losses


def test_the_test_set_is_kept_and_alike_for_every_run(
    three_seeds: FinishedJob, small: HalfData
) -> None:
    paths = [three_seeds.folder / f"seed-{n}" / "test-set.safetensors" for n in range(3)]
    kept = load_file(paths[0])
    assert np.array_equal(kept["images"], small.test.images_NHW)
    assert np.array_equal(kept["labels"], small.test.labels_N)
    assert (kept["images"].dtype, kept["labels"].dtype) == (np.uint8, np.int64)
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1


def test_data_device_and_environment_are_recorded(summary: dict[str, Any], small: HalfData) -> None:
    assert summary["data"] == {
        "dataset": "fashion-mnist",
        "half": "fm1",
        "source": small.source,
        "checksums": dict(small.checksums),
    }
    assert summary["device"] == "cpu"
    assert summary["environment"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert summary["environment"]["threads"] >= 1
    assert summary["export"]["max_abs_difference"] < 1e-5
    assert summary["export"]["pictures"] == 500


EVERYTHING = {
    "model": {"batch_norm": True, "dropout": 0.2},
    "optimiser": {"learning_rate": 0.05, "momentum": 0.9},
    "schedule": "cosine",
    "augmentation": {"flip": True, "shift": 2},
    "fraction_percent": 40,
}


@pytest.mark.parametrize("fields", [{}, EVERYTHING], ids=["the report's", "every option"])
def test_equal_trainings_leave_equal_models(
    run_job: Callable[..., FinishedJob], fields: dict[str, Any]
) -> None:
    before = torch.get_rng_state()
    jobs = [run_job(max_epochs=2, **fields) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("model.safetensors", "model.onnx", "test-predictions.csv"):
        one, two = (job.artifact_path("seed-0", name).read_bytes() for job in jobs)
        assert one == two


@pytest.mark.parametrize(
    "name", ["model", "optimiser", "schedule", "augmentation", "fraction_percent"]
)
def test_each_option_changes_what_is_learnt(
    run_job: Callable[..., FinishedJob], three_seeds: FinishedJob, name: str
) -> None:
    job = run_job(max_epochs=1, **{"optimiser": {"learning_rate": 0.1}, name: EVERYTHING[name]})
    plain, ours = three_seeds.outcomes[0].history[0], job.outcomes[0].history[0]
    assert ours.train_loss != plain.train_loss
    assert ours.val_loss != plain.val_loss


def test_a_fraction_is_nested_and_stratified(
    small: HalfData, sources: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "load_half", lambda *_: small)
    parts = {
        percent: common.load_data(make_training(fraction_percent=percent), sources)
        for percent in (5, 10, 100)
    }
    pictures = {
        percent: {image.tobytes() for image in data.train.images_NHW}
        for percent, data in parts.items()
    }
    assert pictures[5] < pictures[10] < pictures[100]
    assert np.bincount(parts[5].train.labels_N).tolist() == [15] * 5
    assert np.array_equal(parts[100].train.images_NHW, small.train.images_NHW)
    assert np.array_equal(parts[100].train.labels_N, small.train.labels_N)
    for data in parts.values():
        assert data.val is small.val
        assert data.test is small.test


def test_the_summary_says_how_many_pictures_were_learnt_from(
    run_job: Callable[..., FinishedJob], summary: dict[str, Any]
) -> None:
    assert (summary["fraction_percent"], summary["num_train"]) == (100, 1_500)
    part = run_job(max_epochs=1, fraction_percent=5).outcomes[0].summary
    assert (part["fraction_percent"], part["num_train"]) == (5, 75)


def test_feature_maps_are_of_the_first_test_picture_of_each_class(
    folder: Path, small: HalfData
) -> None:
    kept = load_file(folder / "feature-maps.safetensors")
    rows = [int(np.flatnonzero(small.test.labels_N == label)[0]) for label in range(5)]
    assert np.array_equal(kept["images"], small.test.images_NHW[rows])
    assert kept["labels"].tolist() == [0, 1, 2, 3, 4]
    model = load_model(folder)
    assert isinstance(model, Cnn)
    with torch.no_grad():
        maps = model.feature_maps(to_device(small.test, torch.device("cpu")).images_NCHW[rows])
        for number, expected in enumerate(maps, start=1):
            assert kept[f"conv{number}"].shape == ((5, 6, 24, 24), (5, 12, 8, 8))[number - 1]
            assert np.allclose(kept[f"conv{number}"], expected, atol=1e-5)
    assert set(kept) == {"images", "labels", "conv1", "conv2"}


def test_a_served_model_with_batch_norms_predicts_as_it_was_measured(
    run_job: Callable[..., FinishedJob], small: HalfData
) -> None:
    job = run_job(max_epochs=2, model={"batch_norm": True, "dropout": 0.2})
    content = job.artifact_path("seed-0", "model.onnx").read_bytes()
    hits = run_onnx(content, small.test).argmax(1) == small.test.labels_N
    assert hits.mean() == job.outcomes[0].summary["test_accuracy"]
    model = load_model(job.folder / "seed-0")
    loss, _ = measure(model, to_device(small.val, torch.device("cpu")), lambda: None)
    assert loss == pytest.approx(job.outcomes[0].summary["val_loss"], abs=1e-5)


class EndingSink(FolderSink):
    """Wants an end from a phase on."""

    def __init__(self, folder: Path, phase: str) -> None:
        super().__init__(folder)
        self.end = phase

    def should_stop(self) -> bool:
        return self.end in self.phases


@pytest.mark.parametrize("phase", ["training", "evaluation"])
def test_a_stop_is_heard(
    small: HalfData,
    sources: DataSources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    monkeypatch.setattr(common, "load_half", lambda *_: small)
    sink = EndingSink(tmp_path, phase)
    with pytest.raises(StoppedError):
        train(make_training(max_epochs=1), sink, sources=sources, device="cpu", num_threads=1)
    assert "model.onnx" not in sink.artifacts


def test_failures_have_their_names(
    small: HalfData, sources: DataSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "load_half", lambda *_: small)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sink = FolderSink(tmp_path)
    with pytest.raises(UserError, match="cuda"):
        train(make_training(), sink, sources=sources, device="cuda")
    diverging = make_training(optimiser={"learning_rate": 1e30})
    with pytest.raises(DivergedError, match="epoch 1, step 2"):
        train(diverging, sink, sources=sources, device="cpu", num_threads=1)

    def take_all_memory(*_: object, **__: object) -> None:
        torch.empty(2**55)

    monkeypatch.setattr(cnn, "fit", take_all_memory)
    with pytest.raises(OutOfMemoryError):
        train(make_training(), sink, sources=sources, device="cpu", num_threads=1)


def test_collation_needs_no_torch() -> None:
    code = (
        "import sys, fmx_ml.experiments.q1, fmx_ml.manifest, fmx_ml.model_card\n"
        "loaded = {'torch', 'torchvision', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'{loaded} are loaded' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
