import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from dense_cases import Trained, autoencoder_training, small_pictures, train_small
from safetensors.numpy import load_file
from torch import nn

from fmx_ml.data.loader import AutoencoderData, HalfData
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.engine.evaluate import to_device
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.export import load_card, load_model
from fmx_ml.models import build_autoencoder
from fmx_ml.models.autoencoder import Autoencoder

ARTIFACTS = {
    "model.safetensors",
    "model.json",
    "history.csv",
    "reconstructions.safetensors",
    "codes.safetensors",
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(fm1: HalfData, sources: DataSources) -> AutoencoderData:
    del fm1  # skips where the data set is not there
    return small_pictures(sources)


@pytest.fixture(scope="module")
def trained(
    data: AutoencoderData, sources: DataSources, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Four epochs."""
    folder = tmp_path_factory.mktemp("ae")
    return train_small(autoencoder_training(max_epochs=4), folder, data, sources)


@pytest.fixture
def run(tmp_path: Path, data: AutoencoderData, sources: DataSources) -> Any:
    """Trains once more, into a folder of its own."""
    count = 0

    def start(pictures: AutoencoderData = data, **fields: Any) -> Trained:
        nonlocal count
        count += 1
        training = autoencoder_training(**fields)
        return train_small(training, tmp_path / str(count), pictures, sources)

    return start


def weights_of(trained: Trained) -> dict[str, np.ndarray[Any, Any]]:
    return load_file(trained.folder / "model.safetensors")


def losses_of(trained: Trained) -> list[float]:
    return [metrics.train_loss or 0 for metrics in trained.sink.history]


def test_what_it_leaves_has_no_export(trained: Trained) -> None:
    assert {path.name for path in trained.folder.iterdir()} == ARTIFACTS
    assert sorted(trained.sink.artifacts) == sorted(ARTIFACTS)
    assert trained.sink.phases == ["data", "training", "evaluation"]


def test_the_summary_is_json_without_accuracies(trained: Trained) -> None:
    summary = trained.summary
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["train_accuracy"] is None
    assert summary["last"]["val_accuracy"] is None
    assert all(metrics.train_accuracy is None for metrics in trained.sink.history)
    assert (summary["epochs"], summary["code_size"], summary["num_train"]) == (4, 10, 1_000)
    assert summary["environment"]["threads"] == 1


def test_the_figures_are_those_of_the_model_that_is_left(
    trained: Trained, data: AutoencoderData
) -> None:
    model = load_model(trained.folder)
    for pictures, figure in ((data.train, "best_weights_train_loss"), (data.val, "val_mse")):
        images = to_device(pictures, CPU).images_NCHW
        with torch.no_grad():
            error = (model(images) - images.flatten(1)).double().square().mean().item()
        assert trained.summary[figure] == pytest.approx(error, rel=1e-5)


def test_the_best_epoch_has_the_lowest_training_loss(run: Any) -> None:
    """A learning rate that spoils what was learnt, so that the best epoch is not the last."""
    trained = run(max_epochs=6, optimiser={"name": "SGD", "learning_rate": 30.0, "momentum": 0.9})
    losses, summary = losses_of(trained), trained.summary
    assert summary["best_epoch"] == losses.index(min(losses)) + 1
    assert summary["train_mse"] == summary["train_loss"] == min(losses)
    assert summary["last"]["train_loss"] == losses[-1]


def test_the_reports_error_is_that_of_a_plain_loop_as_the_report_wrote_it(
    trained: Trained, data: AutoencoderData
) -> None:
    """Sums of the batches' means, divided by the number of pictures."""
    model = build_autoencoder(
        autoencoder_training().model, torch.Generator().manual_seed(derive_seed(0, "weights"))
    )
    optimiser, criterion = torch.optim.Adam(model.parameters(), lr=0.003), nn.MSELoss()
    images = to_device(data.train, CPU).images_NCHW.view(-1, 784)
    order = torch.Generator().manual_seed(derive_seed(0, "order"))
    errors = list[float]()
    for _ in range(4):
        running_loss = 0.0
        for rows in torch.randperm(1_000, generator=order).split(20):
            optimiser.zero_grad()
            loss = criterion(model(images[rows]), images[rows])
            loss.backward()
            optimiser.step()
            running_loss += loss.item()
        errors.append(running_loss / 1_000)
    assert [loss / 20 for loss in losses_of(trained)] == pytest.approx(errors, rel=1e-4)
    assert trained.summary["report_error"] == pytest.approx(min(errors), rel=1e-4)
    assert trained.summary["last"]["report_error"] == pytest.approx(errors[-1], rel=1e-4)
    assert trained.summary["report_error"] == trained.summary["train_mse"] / 20


def test_equal_seeds_equal_bytes(run: Any) -> None:
    first, again, other = run(), run(), run(seed=1)
    for name in ("model.safetensors", "codes.safetensors", "reconstructions.safetensors"):
        content = (first.folder / name).read_bytes()
        assert (again.folder / name).read_bytes() == content
        assert (other.folder / name).read_bytes() != content


def test_nothing_is_learnt_from_the_validation_pictures(run: Any, data: AutoencoderData) -> None:
    inverted = Pictures(255 - data.val.images_NHW, data.val.labels_N)
    plain, other = run(), run(replace(data, val=inverted))
    assert plain.summary["val_mse"] != other.summary["val_mse"]
    for name, weight in weights_of(plain).items():
        assert np.array_equal(weight, weights_of(other)[name])


def test_reconstructions_are_shown_as_pixels(trained: Trained, data: AutoencoderData) -> None:
    arrays = load_file(trained.folder / "reconstructions.safetensors")
    assert arrays["labels"].tolist() == data.samples.labels_N.tolist()
    assert arrays["originals"].dtype == arrays["reconstructions"].dtype == np.float32
    assert np.allclose(arrays["originals"] * 255, data.samples.images_NHW)
    with torch.no_grad():
        answers = load_model(trained.folder)(to_device(data.samples, CPU).images_NCHW)
    shown = arrays["reconstructions"]
    assert shown.shape == (40, 28, 28)
    assert np.allclose(2 * shown - 1, answers.reshape(40, 28, 28), atol=1e-6)
    assert shown.min() >= 0.5  # a sigmoid has nothing for the dark half of -1 to 1


def test_with_unit_pixels_the_dark_half_can_be_shown(run: Any) -> None:
    trained = run(normalise="unit", max_epochs=4)
    shown = load_file(trained.folder / "reconstructions.safetensors")["reconstructions"]
    assert 0 <= shown.min() < 0.1
    card = load_card(trained.folder)
    assert (card.family, card.input.mean, card.input.std) == ("autoencoder", 0, 1)
    assert trained.summary["constant_mse"]["zeros"] < 0.3


def test_codes_lie_in_a_plane(trained: Trained, data: AutoencoderData) -> None:
    arrays = load_file(trained.folder / "codes.safetensors")
    assert arrays["codes"].shape == (1_000, 2)  # 300 a class where there are as many
    assert np.bincount(arrays["labels"]).tolist() == [100] * 10
    assert 0 < arrays["explained"].sum() <= 1 + 1e-6
    model = load_model(trained.folder)
    assert isinstance(model, Autoencoder)
    with torch.no_grad():
        codes = model.encode(to_device(data.train, CPU).images_NCHW)
    share = arrays["codes"].var(0).sum() / codes.var(0, correction=0).sum().item()
    assert share == pytest.approx(arrays["explained"].sum(), rel=1e-4)


def test_a_good_autoencoder_has_not_collapsed(run: Any) -> None:
    summary = run(normalise="unit", max_epochs=8).summary
    assert summary["best_weights_train_loss"] < 0.9 * summary["constant_mse"]["mean_picture"]
    assert not summary["collapsed"]


def test_a_large_learning_rate_collapses_and_is_said_to(run: Any) -> None:
    summary = run(optimiser={"name": "Adam", "learning_rate": 1.0}).summary
    assert summary["dead_units"] > 0
    assert summary["collapsed"]


@pytest.mark.parametrize("divide", [True, False])
def test_it_stops_by_the_reports_rule_on_the_training_loss(run: Any, divide: bool) -> None:
    """Divided by the batch size a loss soon falls by less than 0.001: the report stops early."""
    rule = {
        "window": 3, "threshold": -0.001, "min_epochs": 5, "on": "train_loss",
        "divide_by_batch_size": divide,
    }  # fmt: skip
    trained = run(max_epochs=9, normalise="unit", early_stopping=rule)
    losses = [loss / 20 if divide else loss for loss in losses_of(trained)]
    ends = [
        n
        for n in range(5, len(losses) + 1)
        if fmean(losses[n - 3 : n]) - fmean(losses[max(n - 6, 0) : n - 3]) > -0.001
    ]
    assert trained.summary["stopped_early"] is divide
    assert ends == ([len(losses)] if divide else [])
    assert 5 <= len(losses) < 9 if divide else len(losses) == 9
