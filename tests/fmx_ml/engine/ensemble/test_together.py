"""Runs together give what they give alone: each kind of network, each way to end."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_cases import SmallExamples, make_training
from pack_cases import Bench, Case, assert_alike

from fmx_ml.engine.ensemble import networks
from fmx_ml.engine.ensemble.together import Entrant, fit_together
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.features import extract, fit_last_layer
from fmx_ml.engine.objective import Classification
from fmx_ml.engine.reconstruction import Reconstruction
from fmx_ml.engine.train import Fit
from fmx_ml.errors import DivergedError, StoppedError
from fmx_ml.models import build, build_autoencoder
from fmx_ml.models.cnn import Cnn
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.trainings import AutoencoderTraining, CnnTraining, MlpTraining

CLASSIFICATION = Classification(5)
STRUCTURE = ((784, 32), (32, 10))
ADAM = {"name": "Adam", "learning_rate": 0.003}
SLOW_ADAM = {"name": "Adam", "learning_rate": 0.0003}


def make_cnn_case(
    num_examples: int, model: Mapping[str, Any], seed: int = 0, **fields: Any
) -> Case:
    training = make_training(model=model, seeds=[seed], **{"max_epochs": 3, **fields})
    network = build(training.model, 5, torch.Generator().manual_seed(seed + 1))
    return Case(training, network, num_examples)


def make_mlp_case(num_examples: int, seed: int = 0, output: str = "logits", **fields: Any) -> Case:
    training = MlpTraining.model_validate(
        {
            "seed": seed, "split_seed": 0, "dataset": "fashion-mnist", "half": "fm1",
            "model": {"structure": STRUCTURE, "output": output},
            "optimiser": ADAM, "batch_size": 32, "max_epochs": 3, "early_stopping": None,
            **fields,
        }
    )  # fmt: skip
    network = build(training.model, 5, torch.Generator().manual_seed(seed + 1))
    return Case(training, network, num_examples)


def make_autoencoder_case(num_examples: int, seed: int = 0, **fields: Any) -> Case:
    training = AutoencoderTraining.model_validate(
        {
            "seed": seed, "split_seed": 0, "dataset": "fashion-mnist",
            "model": {"structure": STRUCTURE},
            "optimiser": ADAM, "batch_size": 64, "max_epochs": 3, "early_stopping": None,
            **fields,
        }
    )  # fmt: skip
    network = build_autoencoder(training.model, torch.Generator().manual_seed(seed + 1))
    return Case(training, network, num_examples)


def assert_each_as_alone(
    bench: Bench, cases: Sequence[Case], weights_tolerance: float = 1e-5
) -> dict[int, Any]:
    outcomes = bench.together(cases)
    assert sorted(outcomes) == list(range(len(cases)))
    for place, case in enumerate(cases):
        assert_alike(outcomes[place], bench.alone(case), weights_tolerance)
    return outcomes


@pytest.mark.parametrize("patches", [False, True], ids=["groups", "patches"])
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"conv_layers": 1, "dense_layers": 3},
        {"conv_layers": 4, "channels": (2, 3, 4, 5), "dense_layers": 1},
        {"kernel_size": 3, "padding": "same", "dense_layers": 2},
    ],
    ids=["Q1", "Q5", "padded", "small kernel"],
)
def test_convolutional_networks(
    examples: SmallExamples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
    patches: bool,
) -> None:
    """Other seeds, rates, decays, optimisers, shares of the pictures, in one pack."""

    def stack(cnn: Cnn, _: torch.device) -> networks.StackedNetwork:
        return networks.StackedCnn(cnn.spec, patches)

    monkeypatch.setattr("fmx_ml.engine.ensemble.together.stack_network", stack)
    cases = [
        make_cnn_case(110, model, 0, optimiser={"learning_rate": 0.1}),
        make_cnn_case(
            70, model, 1, optimiser={"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01}
        ),
        make_cnn_case(100, model, 2, optimiser=SLOW_ADAM, schedule="cosine"),
    ]
    bench = Bench(CLASSIFICATION, examples, tmp_path)
    bench.val = Examples(*examples.val.take(torch.arange(0, 500, 4)))
    # Sums in another order let another place of a pooling window win where two are all but equal,
    # as on the black ground; at a padded border it has other neighbours.
    has_border = any(layer.padding for layer in make_training(model=model).model.layers())
    assert_each_as_alone(bench, cases, 1e-3 if patches or has_border else 1e-5)


def test_perceptrons_of_all_three_optimisers(examples: SmallExamples, tmp_path: Path) -> None:
    """In an order that mixes them, with the same seeds twice and partial last batches."""
    optimisers = itertools.cycle(
        [
            {"name": "SGD", "learning_rate": 0.1, "momentum": 0.5},
            {"name": "Adam", "learning_rate": 0.003, "weight_decay": 0.01},
            {"name": "AdamW", "learning_rate": 0.001, "weight_decay": 0.1},
        ]
    )
    cases = [
        make_mlp_case(count, seed, optimiser=optimiser)
        for seed, (count, optimiser) in enumerate(
            zip((300, 500, 310, 64, 200, 500), optimisers, strict=False)
        )
    ]
    assert_each_as_alone(Bench(CLASSIFICATION, examples, tmp_path), cases)


def test_perceptrons_that_end_in_sigmoids(examples: SmallExamples, tmp_path: Path) -> None:
    cases = [make_mlp_case(count, output="sigmoid") for count in (96, 200, 350)]
    assert_each_as_alone(Bench(CLASSIFICATION, examples, tmp_path), cases)


def test_autoencoders(examples: SmallExamples, tmp_path: Path) -> None:
    """Their best epoch is that of the lowest training loss, and nothing is recognised."""
    cases = [
        make_autoencoder_case(300, 0),
        make_autoencoder_case(170, 1, optimiser={"name": "Adam", "learning_rate": 0.0003}),
        make_autoencoder_case(64, 2),
    ]
    assert_each_as_alone(Bench(Reconstruction(), examples, tmp_path), cases)


def test_last_layers_of_a_frozen_network(examples: SmallExamples, tmp_path: Path) -> None:
    """On features that are computed once, as `fit_last_layer` computes them for each run."""
    training = make_training(model={"conv_layers": 1, "dense_layers": 3})
    models = [build(training.model, 5, torch.Generator().manual_seed(0)) for _ in range(3)]
    cases: list[Case] = []
    for seed, (model, count) in enumerate(zip(models, (1_000, 450, 80), strict=True)):
        model.freeze()
        torch.nn.init.uniform_(
            model.denses[-1].weight, -0.1, 0.1, generator=torch.Generator().manual_seed(seed)
        )
        optimiser = {"name": "AdamW", "learning_rate": 0.005, "weight_decay": 0.05}
        part = make_training(model=training.model, max_epochs=4, seeds=[seed], optimiser=optimiser)
        cases.append(Case(part, model, count))
    bench = Bench(CLASSIFICATION, examples, tmp_path)
    pictures = bench.train, bench.val
    bench.train, bench.val = (extract(models[0], each, lambda: None) for each in pictures)
    outcomes = bench.together(cases)
    for place, case in enumerate(cases):
        part = Examples(*pictures[0].take(case.rows()))
        model = case.model
        assert isinstance(model, Cnn)
        assert isinstance(case.training, CnnTraining)
        sink = FolderSink(tmp_path)
        alone = fit_last_layer(model, CLASSIFICATION, part, pictures[1], case.training, sink)
        for weights in (alone.best_weights, alone.last_weights):
            for name in list(weights):
                if name not in outcomes[place].best_weights:
                    del weights[name]
        assert_alike(outcomes[place], alone)


def test_each_stops_early_by_itself(examples: SmallExamples, tmp_path: Path) -> None:
    """The stack shrinks from its middle, and what is left goes on as before."""
    rule = {"window": 1, "min_epochs": 2}
    stops: list[dict[str, Any]] = [
        {"early_stopping": rule | {"threshold": threshold}, "max_epochs": epochs}
        for threshold, epochs in ((-1.0, 7), (1.0, 7), (-1.0, 7), (1.0, 3), (1.0, 5))
    ]
    cases = [
        make_mlp_case(count, seed, **stop)
        for seed, (count, stop) in enumerate(zip((400, 500, 100, 200, 300), stops, strict=True))
    ]
    outcomes = assert_each_as_alone(Bench(CLASSIFICATION, examples, tmp_path), cases)
    assert [len(outcomes[place].history) for place in range(5)] == [2, 7, 2, 3, 5]
    assert [outcomes[place].ending for place in range(5)] == [
        "converged", "max_epochs", "converged", "max_epochs", "max_epochs",
    ]  # fmt: skip


@pytest.mark.parametrize("rate", [1e30, 1e18], ids=["at a step", "at the validation"])
def test_one_diverges_as_alone_and_the_others_go_on(
    examples: SmallExamples, tmp_path: Path, rate: float
) -> None:
    cases = [
        make_mlp_case(500),
        make_mlp_case(32, 1, optimiser={"name": "SGD", "learning_rate": rate}),
        make_mlp_case(300, 2),
    ]
    bench = Bench(CLASSIFICATION, examples, tmp_path)
    outcomes = bench.together(cases)
    with pytest.raises(DivergedError) as alone:
        bench.alone(cases[1])
    assert isinstance(outcomes[1], DivergedError)
    assert (outcomes[1].epoch, outcomes[1].step) == (alone.value.epoch, alone.value.step)
    assert_alike(outcomes[0], bench.alone(cases[0]))
    assert_alike(outcomes[2], bench.alone(cases[2]))


class StoppingSink(FolderSink):
    """Wants an end once it has been told of so many epochs."""

    def __init__(self, folder: Path, epochs: int) -> None:
        super().__init__(folder)
        self.epochs = epochs

    def should_stop(self) -> bool:
        return len(self.history) >= self.epochs


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sinks are asked at every step."""
    monkeypatch.setattr("fmx_ml.engine.stop._LOOK_SECONDS", 0)


@pytest.mark.usefixtures("always_due")
def test_one_is_stopped_and_the_others_go_on(examples: SmallExamples, tmp_path: Path) -> None:
    cases = [make_mlp_case(count, count, max_epochs=4) for count in (200, 300, 100)]
    sinks = [FolderSink(tmp_path), StoppingSink(tmp_path, 2), FolderSink(tmp_path)]
    bench = Bench(CLASSIFICATION, examples, tmp_path)
    outcomes = bench.together(cases, sinks)
    assert isinstance(outcomes[1], StoppedError)
    assert len(sinks[1].history) == 2
    assert_alike(outcomes[0], bench.alone(cases[0]))
    assert_alike(outcomes[2], bench.alone(cases[2]))


@pytest.mark.usefixtures("always_due")
def test_all_stopped_ends_at_once(examples: SmallExamples, tmp_path: Path) -> None:
    """Nothing more is learnt once nobody waits for it: the third would take hours."""
    cases = [make_mlp_case(count, count, max_epochs=10_000) for count in (200, 300, 1_500)]
    sinks = [StoppingSink(tmp_path, epochs) for epochs in (0, 2, 3)]
    outcomes = Bench(CLASSIFICATION, examples, tmp_path).together(cases, sinks)
    assert all(isinstance(outcomes[place], StoppedError) for place in range(3))
    assert [len(sink.history) for sink in sinks] == [0, 2, 3]


class BrokenSink(FolderSink):
    """Can't be told of a second epoch."""

    def epoch(self, metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            raise BrokenPipeError
        super().epoch(metrics)


def test_a_broken_sink_ends_its_own_run_only(examples: SmallExamples, tmp_path: Path) -> None:
    cases = [make_mlp_case(count) for count in (100, 200)]
    sinks = [BrokenSink(tmp_path), FolderSink(tmp_path)]
    outcomes = Bench(CLASSIFICATION, examples, tmp_path).together(cases, sinks)
    assert isinstance(outcomes[0], BrokenPipeError)
    assert isinstance(outcomes[1], Fit)
    assert len(sinks[1].history) == 3


def test_a_run_ends_while_others_learn(examples: SmallExamples, tmp_path: Path) -> None:
    """`ended` is called after the last epoch of the run, not of the pack."""
    told: list[tuple[int, int]] = []
    cases = [make_mlp_case(100, max_epochs=epochs) for epochs in (4, 1, 2)]
    sinks = [FolderSink(tmp_path) for _ in cases]
    entrants = [
        Entrant(case.training, sink, case.model, case.rows())
        for case, sink in zip(cases, sinks, strict=True)
    ]
    fit_together(
        CLASSIFICATION,
        examples.train,
        examples.val,
        entrants,
        lambda place, _: told.append((place, len(sinks[0].history))),
    )
    assert told == [(1, 1), (2, 2), (0, 4)]
