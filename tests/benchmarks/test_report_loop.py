"""The report's loop computes what the reference engine computes, in the report's slow way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import FashionMNIST

from benchmarks import report_loop
from benchmarks.report_loop import Loop, Report
from benchmarks.training import pick
from fmx_ml.data.classes import HALVES
from fmx_ml.data.sources import FullData, Pictures
from fmx_ml.engine.evaluate import Examples, to_device
from fmx_ml.engine.objective import Classification, Objective
from fmx_ml.engine.reconstruction import Reconstruction
from fmx_ml.engine.train import make_optimiser, train_epoch
from fmx_ml.models import build, build_autoencoder
from fmx_ml.trainings import AutoencoderTraining, CnnTraining, MlpTraining, Transfer

STEPS = 3
CPU = torch.device("cpu")


def never() -> None:
    """No stop is asked for."""


def all_of(data: Dataset[Any]) -> Examples:
    """The dataset's pictures as the engine takes them."""
    pairs: list[tuple[Tensor, int]] = [data[row] for row in range(len(data))]  # pyright: ignore[reportArgumentType] - a dataset has a length where it has rows
    images, labels = zip(*pairs, strict=True)
    return Examples(torch.stack(images), torch.tensor(labels))


def in_order(loop: Loop, order: list[int], batch_size: int) -> Loop:
    """The loop with its pictures in an order that is known."""
    return replace(loop, train=DataLoader(Subset(loop.train.dataset, order), batch_size))


def check_steps(loop: Loop, model: nn.Module, objective: Objective, training: Any) -> None:
    """Some steps from equal weights, by both: equal losses and equal weights."""
    copy_weights(model, loop.network)
    size = 32
    order = torch.randperm(STEPS * size, generator=torch.Generator().manual_seed(1))
    examples = all_of(loop.train.dataset)
    optimiser = make_optimiser(training.optimiser, model)
    loss, accuracy = train_epoch(model, objective, optimiser, examples, order.split(size), 1, never)
    told, hits = in_order(loop, order.tolist(), size).train_steps()
    expected = loss * len(examples) / len(order)  # the engine divides by all of its pictures
    assert told == pytest.approx(expected, rel=1e-5)
    if accuracy is not None and hits:
        assert hits == pytest.approx(accuracy * len(examples) / len(order))
    for ours, theirs in zip(model.parameters(), loop.network.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=2e-5)


def copy_weights(model: nn.Module, network: nn.Module) -> None:
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), network.parameters(), strict=True):
            theirs.copy_(ours)


@pytest.mark.parametrize(("kind", "name"), [("q1", "seed-0"), ("q2", "model-8-"), ("q3", "seed-0")])
def test_classifiers_take_the_engines_steps(report: Report, kind: str, name: str) -> None:
    training = pick(kind, name, CnnTraining)[0]
    model = build(training.model, 5, torch.Generator().manual_seed(0))
    check_steps(report.cnn(training), model, Classification(5), training)


def test_perceptrons_take_the_engines_steps(report: Report) -> None:
    training = pick("q4", "mlp-random-100-", MlpTraining)[0]
    model = build(training.model, 5, torch.Generator().manual_seed(0))
    check_steps(report.mlp(training), model, Classification(5), training)


def test_autoencoders_take_the_engines_steps(report: Report) -> None:
    training = pick("q4", "autoencoder-20-", AutoencoderTraining)[0]
    model = build_autoencoder(training.model, torch.Generator().manual_seed(0))
    check_steps(report.autoencoder(training), model, Reconstruction(), training)


def test_validation_has_batches_of_one_and_the_engines_figures(report: Report) -> None:
    training = pick("q1", "seed-0", CnnTraining)[0]
    loop = report.cnn(training)
    model = build(training.model, 5, torch.Generator().manual_seed(0))
    copy_weights(model, loop.network)
    (val,) = loop.watched
    assert val.batch_size == 1
    loss, accuracy = Classification(5).measure(model, all_of(val.dataset), never)
    assert loop.watch() == pytest.approx((loss, accuracy), rel=1e-5)


def test_a_perceptron_is_watched_on_validation_and_test_set(report: Report) -> None:
    loop = report.mlp(pick("q4", "mlp-random-100-", MlpTraining)[0])
    assert [(len(part.dataset), part.batch_size) for part in loop.watched] == [(50, 32), (50, 32)]  # pyright: ignore[reportArgumentType] - as above


def test_an_autoencoder_learns_from_all_of_fm2_and_fm1s_training_pictures(report: Report) -> None:
    loop = report.autoencoder(pick("q4", "autoencoder-20-", AutoencoderTraining)[0])
    assert len(loop.train.dataset) == 300 + 50 + 250  # pyright: ignore[reportArgumentType] - as above
    assert loop.watched == ()


def test_a_frozen_network_learns_in_its_last_layer_only(report: Report) -> None:
    training = pick("q5", "frozen-100-", CnnTraining)[0]
    assert isinstance(training.transfer, Transfer)
    loop = report.cnn(training)
    before = [weight.detach().clone() for weight in loop.network.parameters()]
    loop.train_steps(1)
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, loop.network.parameters(), strict=True)
    ]
    assert moved == [False] * (len(moved) - 2) + [True, True]


def test_pictures_are_normalised_as_the_engine_does(report: Report, noise: FullData) -> None:
    data = report.train
    assert isinstance(data, Subset)
    labels_N = noise.train.labels_N
    rows = [row for row in range(len(labels_N)) if labels_N[row] in HALVES["fm1"]]
    taken = [rows[index] for index in data.indices]
    ours = to_device(Pictures(noise.train.images_NHW[taken], labels_N[taken]), CPU)
    theirs = all_of(data)
    torch.testing.assert_close(theirs.images_NCHW, ours.images_NCHW, rtol=0, atol=1e-6)
    classes = torch.tensor(HALVES["fm1"])
    assert torch.equal(classes[theirs.labels_N], ours.labels_N)


def test_unpacked_files_are_what_torchvision_reads(root: Path, noise: FullData) -> None:
    for pictures, train in ((noise.train, True), (noise.test, False)):
        data = FashionMNIST(str(root), train=train, download=False)
        assert (data.data.numpy() == pictures.images_NHW).all()
        assert (data.targets.numpy() == pictures.labels_N).all()


def test_an_epoch_is_told_from_a_part_of_it(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    monkeypatch.setattr(Loop, "train_steps", lambda _, count: taken.append(count))
    monkeypatch.setattr(Loop, "watch", lambda _, share: taken.append(share))

    def take_a_second(work: Any) -> float:
        work()
        return 1.0

    monkeypatch.setattr(report_loop, "seconds_of", take_a_second)
    loop = report.mlp(pick("q4", "mlp-random-100-", MlpTraining)[0])  # 8 batches of 32 of 250
    assert loop.time_epoch(0.25) == (4.0, 4.0)
    assert taken == [2, 0.25]
    assert replace(loop, watched=()).time_epoch(1.0) == (1.0, 0.0)
