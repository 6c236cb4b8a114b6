"""Whole trainings: the kernel's beside those of the plain engine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from kernel_cases import NETWORKS, Spec, make
from ml_cases import SmallExamples, make_training
from torch import Tensor, nn

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.denormals import denormals_flushed
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.engine.kernel.preparation import prepare
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.train import Fit, fit, make_optimiser, train_epoch
from fmx_ml.errors import DivergedError
from fmx_ml.models.cnn import Cnn
from fmx_ml.pipelines import common, train
from fmx_ml.sinks import FolderSink
from fmx_ml.specs import CnnSpec, OptimiserSpec

SGD = OptimiserSpec(learning_rate=0.005)  # as in the report
ADAM = OptimiserSpec(name="Adam", learning_rate=0.001)


def take_steps(spec: Spec, engine: Engine, examples: SmallExamples) -> nn.Module:
    model, objective = make(spec)
    prepared = prepare(model, objective, engine)
    optimiser = make_optimiser(SGD if isinstance(spec, CnnSpec) else ADAM, prepared.model)
    generator = torch.Generator().manual_seed(0)
    batches = torch.randperm(1_500, generator=generator).split(32)[:20]
    with denormals_flushed():
        train_epoch(
            prepared.model, prepared.objective, optimiser, examples.train, batches, 1, lambda: None
        )
    return model


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS.keys())
def test_twenty_steps_lead_to_the_same_weights(spec: Spec, examples: SmallExamples) -> None:
    """To rounding. Adam divides small gradients by their own size, and so their errors too."""
    start, _ = make(spec)
    error = 1e-6 if isinstance(spec, CnnSpec) else 1e-5
    plain, compiled = take_steps(spec, "torch", examples), take_steps(spec, "auto", examples)
    for name, weight in plain.state_dict().items():
        assert (weight - start.state_dict()[name]).abs().max() > 20 * error
        assert (weight - compiled.state_dict()[name]).abs().max() < error


def run(
    examples: SmallExamples, folder: Path, engine: Engine, **fields: Any
) -> tuple[Fit, nn.Module, Objective]:
    training = make_training(**{"max_epochs": 4, "optimiser": {"learning_rate": 0.02}, **fields})
    model, objective = make(training.model)
    prepared = prepare(model, objective, engine)
    parts = examples.train, examples.val
    fitted = fit(prepared.model, prepared.objective, *parts, training, FolderSink(folder))
    return fitted, model, objective


@pytest.mark.parametrize("batch_size", [100, 64], ids=["full batches", "a last partial batch"])
def test_the_curves_are_those_of_torch(
    examples: SmallExamples, tmp_path: Path, batch_size: int
) -> None:
    plain, *_ = run(examples, tmp_path, "torch", batch_size=batch_size)
    fast, model, objective = run(examples, tmp_path, "auto", batch_size=batch_size)
    for theirs, ours in zip(plain.history, fast.history, strict=True):
        for name, value in theirs.model_dump(exclude={"seconds"}).items():
            assert getattr(ours, name) == pytest.approx(value, abs=1e-4 if "loss" in name else 2e-3)
    assert fast.last_weights.keys() == plain.last_weights.keys()
    assert_equal(fast.last_weights, model.state_dict())
    loss, _ = objective.measure(model, examples.val, lambda: None)
    assert loss == pytest.approx(fast.history[-1].val_loss, rel=1e-5)


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    for name, weight in left.items():
        assert torch.equal(weight, right[name])


def test_equal_seeds_are_bit_equal(examples: SmallExamples, tmp_path: Path) -> None:
    (first, *_), (again, *_) = (run(examples, tmp_path, "auto", schedule="cosine") for _ in "12")
    assert_equal(first.last_weights, again.last_weights)
    assert [m.val_loss for m in first.history] == [m.val_loss for m in again.history]


def test_the_weights_of_an_epoch_are_copies(examples: SmallExamples, tmp_path: Path) -> None:
    fitted, model, _ = run(examples, tmp_path, "auto", max_epochs=1)
    kept = {name: weight.clone() for name, weight in fitted.best_weights.items()}
    nn.init.zeros_(next(model.parameters()))
    assert_equal(kept, fitted.best_weights)


def test_divergence_is_seen(examples: SmallExamples, tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        run(examples, tmp_path, "auto", optimiser={"learning_rate": 1e6})


@pytest.mark.parametrize(
    "fields", [{"batch_norm": True}, {"dropout": 0.5}, {"kernel_size": 9}], ids=str
)
def test_networks_that_the_kernel_does_not_know_stay_with_torch(fields: dict[str, Any]) -> None:
    model, objective = make(CnnSpec.model_validate({"conv_layers": 1, **fields}))
    assert prepare(model, objective, "auto") == (model, objective, "torch")


def test_frozen_networks_stay_with_torch() -> None:
    model, objective = make(CnnSpec())
    assert isinstance(model, Cnn)
    model.freeze()
    assert prepare(model, objective, "auto") == (model, objective, "torch")


@pytest.mark.parametrize(("engine", "name"), [("auto", "kernel"), ("torch", "torch")])
def test_a_run_says_what_trained_it(
    small: HalfData,
    sources: DataSources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: Engine,
    name: str,
) -> None:
    monkeypatch.setattr(common, "load_half", lambda *_: small)
    training = make_training(max_epochs=1, batch_size=500)
    sink = FolderSink(tmp_path)
    summary = train(training, sink, sources=sources, device="cpu", engine=engine)
    assert summary["environment"]["engine"].split()[0] == name
