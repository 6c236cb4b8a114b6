import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_cases import SmallExamples, make_training
from torch import nn

from fmx_ml.engine.early_stopping import has_converged
from fmx_ml.engine.evaluate import Examples, measure
from fmx_ml.engine.objective import Classification
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.train import Fit, fit, make_optimiser
from fmx_ml.errors import DivergedError, StoppedError
from fmx_ml.models import build
from fmx_ml.models.cnn import Cnn
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.specs import CnnSpec, OptimiserSpec
from fmx_ml.trainings import CnnTraining

OBJECTIVE = Classification(5)


def make_model(seed: int = 0) -> Cnn:
    return build(CnnSpec(), 5, torch.Generator().manual_seed(seed))


def run(
    examples: SmallExamples, folder: Path, **fields: Any
) -> tuple[Fit, Cnn, FolderSink, CnnTraining]:
    training = make_training(**{"max_epochs": 3, "optimiser": {"learning_rate": 0.1}, **fields})
    model, sink = make_model(training.seed), FolderSink(folder)
    return (
        fit(model, OBJECTIVE, examples.train, examples.val, training, sink),
        model,
        sink,
        training,
    )


def figures(fitted: Fit) -> list[tuple[Any, ...]]:
    """The history without the times."""
    return [tuple(m.model_dump(exclude={"seconds"}).values()) for m in fitted.history]


def test_equal_seeds_are_bit_equal(examples: SmallExamples, tmp_path: Path) -> None:
    (first, *_), (again, *_) = run(examples, tmp_path), run(examples, tmp_path)
    (other, *_) = run(examples, tmp_path, seeds=[1])
    assert figures(first) == figures(again)
    assert figures(first) != figures(other)
    for name, weight in first.best_weights.items():
        assert torch.equal(weight, again.best_weights[name])
        assert torch.equal(first.last_weights[name], again.last_weights[name])


def test_the_global_generator_is_left_alone(examples: SmallExamples, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(examples, tmp_path)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("batch_size", [100, 64], ids=["full batches", "a last partial batch"])
def test_an_epoch_is_that_of_a_plain_loop(
    examples: SmallExamples, tmp_path: Path, batch_size: int
) -> None:
    """Plain layers, relu before the pooling, losses taken off at each step."""
    fitted, *_ = run(examples, tmp_path, max_epochs=2, batch_size=batch_size)
    plain = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(192, 80), nn.ReLU(), nn.Linear(80, 5),
    )  # fmt: skip
    values = make_model().state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    criterion = nn.CrossEntropyLoss()
    generator = torch.Generator().manual_seed(derive_seed(0, "order"))
    images, labels = examples.train.images_NCHW, examples.train.labels_N
    for metrics in fitted.history:
        order = torch.randperm(len(labels), generator=generator).tolist()
        loss_sum, hits = 0.0, 0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            optimiser.zero_grad()
            logits = plain(images[rows])
            loss = criterion(logits, labels[rows])
            loss.backward()
            optimiser.step()
            loss_sum += loss.item() * len(rows)
            hits += int((logits.argmax(1) == labels[rows]).sum())
        with torch.no_grad():
            val_logits = plain(examples.val.images_NCHW)
        assert metrics.train_loss == pytest.approx(loss_sum / len(order), abs=2e-5)
        assert metrics.train_accuracy == pytest.approx(hits / len(order), abs=2e-3)
        val_loss = criterion(val_logits, examples.val.labels_N).item()
        assert metrics.val_loss == pytest.approx(val_loss, abs=2e-4)
    theirs = plain.state_dict().values()
    for ours, their in zip(fitted.last_weights.values(), theirs, strict=True):
        assert torch.allclose(ours, their, atol=1e-4)


def test_history_goes_to_the_sink(examples: SmallExamples, tmp_path: Path) -> None:
    fitted, _, sink, _ = run(examples, tmp_path)
    assert sink.history == fitted.history
    assert [metrics.epoch for metrics in fitted.history] == [1, 2, 3]
    assert all(metrics.seconds > 0 for metrics in fitted.history)
    assert fitted.seconds >= sum(metrics.seconds for metrics in fitted.history)


def test_the_best_weights_are_a_copy_of_the_best_epochs(
    examples: SmallExamples, tmp_path: Path
) -> None:
    """With wrong labels to validate on, what is learned makes every epoch worse than the first."""
    wrong = Examples(examples.val.images_NCHW, (examples.val.labels_N + 1) % 5)
    fitted, model, *_ = run(SmallExamples(examples.train, wrong), tmp_path, max_epochs=4)
    losses = [metrics.val_loss or math.nan for metrics in fitted.history]
    assert fitted.best_epoch == losses.index(min(losses)) + 1 < len(losses)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, fitted.last_weights[name])
        assert weight.data_ptr() != fitted.best_weights[name].data_ptr()
    assert any(
        not torch.equal(fitted.best_weights[name], last)
        for name, last in fitted.last_weights.items()
    )
    model.load_state_dict(fitted.best_weights)
    loss, accuracy = measure(model, wrong, lambda: None)
    best = fitted.history[fitted.best_epoch - 1]
    assert (loss, accuracy) == (best.val_loss, best.val_accuracy)


def test_it_stops_where_the_rule_says(examples: SmallExamples, tmp_path: Path) -> None:
    rule = {"window": 2, "threshold": -0.05, "min_epochs": 4}
    fitted, _, _, training = run(examples, tmp_path, max_epochs=60, early_stopping=rule)
    losses = [metrics.val_loss or math.nan for metrics in fitted.history]
    assert fitted.stopped_early
    assert len(losses) < 60
    assert training.early_stopping is not None
    ends = [
        n for n in range(1, len(losses) + 1) if has_converged(losses[:n], training.early_stopping)
    ]
    assert ends == [len(losses)]


def test_max_epochs_is_the_most_that_run(examples: SmallExamples, tmp_path: Path) -> None:
    fitted, *_ = run(examples, tmp_path, max_epochs=2)
    assert len(fitted.history) == 2
    assert not fitted.stopped_early
    assert fitted.ending == "max_epochs"


def test_divergence_is_named_with_its_step(examples: SmallExamples, tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as caught:
        run(examples, tmp_path, optimiser={"learning_rate": 1e30})
    assert caught.value.epoch == 1
    assert caught.value.step == 2
    assert not math.isfinite(caught.value.loss)


def test_divergence_that_only_validation_sees(examples: SmallExamples, tmp_path: Path) -> None:
    """One step an epoch: the loss before it is finite, the weights after it are not."""
    with pytest.raises(DivergedError) as caught:
        run(examples, tmp_path, optimiser={"learning_rate": 1e38}, batch_size=1_500)
    assert (caught.value.epoch, caught.value.step) == (1, None)


def test_without_a_rule_all_epochs_run(examples: SmallExamples, tmp_path: Path) -> None:
    rule = {"window": 1, "threshold": -10.0, "min_epochs": 1}
    ruled, *_ = run(examples, tmp_path, max_epochs=4, early_stopping=rule)
    free, *_ = run(examples, tmp_path, max_epochs=4, early_stopping=None)
    assert len(ruled.history) == 2
    assert len(free.history) == 4
    assert figures(free)[:2] == figures(ruled)


def test_the_rule_may_look_at_the_training_loss(examples: SmallExamples, tmp_path: Path) -> None:
    """Validated on wrong labels one loss rises while the other falls."""
    wrong = Examples(examples.val.images_NCHW, (examples.val.labels_N + 1) % 5)
    rule = {"window": 1, "threshold": 0.0, "min_epochs": 2}
    lengths = {
        on: len(
            run(
                SmallExamples(examples.train, wrong),
                tmp_path,
                max_epochs=4,
                early_stopping={**rule, "on": on},
            )[0].history
        )
        for on in ("val_loss", "train_loss")
    }
    assert lengths == {"val_loss": 2, "train_loss": 4}


def run_with(examples: SmallExamples, folder: Path, options: dict[str, Any], **fields: Any) -> Fit:
    training = make_training(**{"max_epochs": 4, "optimiser": {"learning_rate": 0.1}, **fields})
    sink = FolderSink(folder)
    return fit(make_model(), OBJECTIVE, examples.train, examples.val, training, sink, **options)


def test_a_hopeless_history_ends_it(examples: SmallExamples, tmp_path: Path) -> None:
    seen: list[int] = []

    def is_hopeless(history: Sequence[EpochMetrics]) -> bool:
        seen.append(len(history))
        return len(history) == 2

    fitted = run_with(examples, tmp_path, {"is_hopeless": is_hopeless})
    assert (fitted.ending, len(fitted.history), seen) == ("pruned", 2, [1, 2])
    assert not fitted.stopped_early
    whole, *_ = run(examples, tmp_path, max_epochs=4)
    assert figures(fitted) == figures(whole)[:2]


def test_after_the_last_epoch_nothing_is_hopeless(examples: SmallExamples, tmp_path: Path) -> None:
    options = {"is_hopeless": lambda history: len(history) == 2}
    fitted = run_with(examples, tmp_path, options, max_epochs=2)
    assert fitted.ending == "max_epochs"


def test_divergence_may_be_an_end(examples: SmallExamples, tmp_path: Path) -> None:
    """What ended before is kept; of a first epoch there is nothing."""
    options = {"may_diverge": True}
    never_began = run_with(examples, tmp_path, options, optimiser={"learning_rate": 1e30})
    assert (never_began.ending, never_began.best_epoch) == ("diverged", 0)
    assert never_began.history == []
    assert never_began.best_weights == {}


class BreakingObjective(Classification):
    """Its loss is no number from the 31st step on."""

    num_asked = 0

    def loss(
        self, model: nn.Module, images_BCHW: torch.Tensor, labels_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        loss, hits = super().loss(model, images_BCHW, labels_B)
        type(self).num_asked += 1
        return (loss if self.num_asked <= 30 else loss * math.nan), hits


def test_a_late_divergence_keeps_the_epochs_that_ended(
    examples: SmallExamples, tmp_path: Path
) -> None:
    """15 steps are an epoch."""
    training = make_training(max_epochs=4, optimiser={"learning_rate": 0.1})
    parts = examples.train, examples.val, training
    BreakingObjective.num_asked = 0
    fitted = fit(make_model(), BreakingObjective(5), *parts, FolderSink(tmp_path), may_diverge=True)
    whole, *_ = run(examples, tmp_path, max_epochs=2)
    assert fitted.ending == "diverged"
    assert figures(fitted) == figures(whole)
    for name, weight in whole.last_weights.items():
        assert torch.equal(fitted.last_weights[name], weight)


class StoppingSink(FolderSink):
    """Wants an end after some seconds."""

    def __init__(self, folder: Path, after_seconds: float) -> None:
        super().__init__(folder)
        self.end = time.monotonic() + after_seconds

    def should_stop(self) -> bool:
        return time.monotonic() > self.end


def test_a_stop_is_heard_within_an_epoch(examples: SmallExamples, tmp_path: Path) -> None:
    """An epoch of 60,000 pictures takes seconds; the stop must not wait for its end."""
    many = torch.arange(60_000) % len(examples.train)
    train = Examples(examples.train.images_NCHW[many], examples.train.labels_N[many])
    sink = StoppingSink(tmp_path, after_seconds=0.3)
    started = time.monotonic()
    with pytest.raises(StoppedError):
        fit(make_model(), OBJECTIVE, train, examples.val, make_training(batch_size=10), sink)
    assert time.monotonic() - started < 1.5
    assert sink.history == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("SGD", torch.optim.SGD), ("Adam", torch.optim.Adam), ("AdamW", torch.optim.AdamW)],
)
def test_optimisers_get_what_was_asked(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    spec = OptimiserSpec(name=name, learning_rate=0.02, weight_decay=0.03)
    optimiser = make_optimiser(spec, make_model())
    assert type(optimiser) is kind
    assert optimiser.defaults["lr"] == 0.02
    assert optimiser.defaults["weight_decay"] == 0.03
    assert optimiser.defaults.get("momentum", 0) == 0
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 8


def test_momentum_is_nesterovs(examples: SmallExamples) -> None:
    """Written out: the step goes along the gradient and the momentum that it has just moved."""
    model = make_model()
    optimiser = make_optimiser(OptimiserSpec(learning_rate=0.05, momentum=0.9), model)
    weight, expected = model.denses[-1].bias, model.denses[-1].bias.detach().clone()
    velocity = torch.zeros_like(expected)
    for _ in range(4):
        optimiser.zero_grad()
        logits = model(examples.val.images_NCHW)
        nn.functional.cross_entropy(logits, examples.val.labels_N).backward()
        assert weight.grad is not None
        velocity = 0.9 * velocity + weight.grad
        expected = expected - 0.05 * (weight.grad + 0.9 * velocity)
        optimiser.step()
        assert torch.allclose(weight, expected, atol=1e-6)


def test_frozen_weights_are_not_optimised() -> None:
    model = make_model()
    model.freeze()
    (group,) = make_optimiser(OptimiserSpec(), model).param_groups
    assert [weight.shape for weight in group["params"]] == [(5, 80), (5,)]


def test_a_cosine_falls_to_nothing_over_all_steps(
    examples: SmallExamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """45 steps in three epochs of 15; each takes the rate of its own place."""
    rates: list[float] = []
    step = torch.optim.SGD.step

    def note(self: torch.optim.SGD, closure: None = None) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", note)
    fitted, *_ = run(examples, tmp_path, schedule="cosine")
    expected = [0.1 * (1 + math.cos(math.pi * n / 45)) / 2 for n in range(45)]
    assert rates == pytest.approx(expected, rel=1e-9)
    constant, *_ = run(examples, tmp_path)
    assert figures(fitted) != figures(constant)
    assert set(rates[45:]) == {0.1}


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_fused_optimisers_step_as_the_plain_ones(examples: SmallExamples, name: Any) -> None:
    models = [make_model(), make_model()]
    spec = OptimiserSpec(name=name, learning_rate=0.005, weight_decay=0.01)
    plain = getattr(torch.optim, name)(
        models[1].parameters(), lr=0.005, weight_decay=0.01, foreach=False, fused=False
    )
    for model, optimiser in zip(models, [make_optimiser(spec, models[0]), plain], strict=True):
        for _ in range(5):
            optimiser.zero_grad()
            logits = model(examples.val.images_NCHW)
            nn.functional.cross_entropy(logits, examples.val.labels_N).backward()
            optimiser.step()
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
