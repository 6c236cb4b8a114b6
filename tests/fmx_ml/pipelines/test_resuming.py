"""A training that was interrupted, wherever, ends with the bits of one that never was."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cnn_cases import make_trial, run_small
from dense_cases import autoencoder_training, mlp_training, small_pictures
from ml_cases import make_training
from resume_cases import Attempt, Runner, assert_equal

from fmx_ml.data.loader import AutoencoderData, HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.errors import StoppedError
from fmx_ml.results import NeededRun
from fmx_ml.sinks import SavedCheckpoint
from fmx_ml.trainings import CnnTraining, Training, Transfer, training_hash

EPOCHS = 6
ADAM = {"name": "Adam", "learning_rate": 0.003}
ADAMW = {"name": "AdamW", "learning_rate": 0.005, "weight_decay": 0.05}
MOMENTUM = {"name": "SGD", "learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-4}
CHANCE = {
    "model": {"dropout": 0.3, "batch_norm": True},
    "augmentation": {"flip": True, "shift": 2},
}
RULE = {"window": 1, "threshold": -1.0, "min_epochs": EPOCHS - 1}


def cnn(**fields: Any) -> CnnTraining:
    return make_training(**{"max_epochs": EPOCHS, "fraction_percent": 40, **fields})


def transfer(trained: Any, seed: int = 1, **fields: Any) -> Callable[[str], CnnTraining]:
    """A training that starts from the source, whose hash is given later."""

    def make(source: str) -> CnnTraining:
        wanted = {"model": {"batch_norm": True}, "optimiser": ADAMW, "seeds": [seed], **fields}
        return cnn(**wanted).model_copy(
            update={"transfer": Transfer(source=source, trained=trained)}
        )

    return make


@dataclass(frozen=True)
class Kind:
    """A training, or what makes one of the source's hash, and what computes it."""

    training: Training | Callable[[str], CnnTraining]
    engine: Engine = "auto"

    def make(self, source: str) -> Training:
        return self.training(source) if callable(self.training) else self.training


KINDS = {
    "kernel": Kind(cnn(optimiser={"learning_rate": 0.1})),
    "kernel, cosine, momentum": Kind(cnn(optimiser=MOMENTUM, schedule="cosine")),
    "kernel, AdamW, stops early": Kind(cnn(optimiser=ADAMW, early_stopping=RULE)),
    "torch": Kind(cnn(optimiser=MOMENTUM), "torch"),
    "torch, chance, cosine, Adam": Kind(cnn(**CHANCE, optimiser=ADAM, schedule="cosine")),
    "torch, chance, momentum": Kind(cnn(**CHANCE, optimiser=MOMENTUM)),
    "autoencoder": Kind(autoencoder_training(max_epochs=EPOCHS)),
    "autoencoder, torch": Kind(autoencoder_training(max_epochs=EPOCHS), "torch"),
    "perceptron": Kind(mlp_training(max_epochs=EPOCHS)),
    "perceptron, torch": Kind(mlp_training(max_epochs=EPOCHS, optimiser=MOMENTUM), "torch"),
    "trial": Kind(make_trial(2, max_epochs=EPOCHS, fraction_percent=40)),
    "last layer": Kind(transfer("last_layer")),
    "last layer, chance": Kind(transfer("last_layer", augmentation={"flip": True, "shift": 1})),
    "all layers": Kind(transfer("all_layers")),
}


@pytest.fixture(scope="module")
def source(
    small: HalfData, sources: DataSources, tmp_path_factory: pytest.TempPathFactory
) -> NeededRun:
    """What transfers start from."""
    training = make_training(half="fm2", max_epochs=1, model={"batch_norm": True})
    return run_small(training, tmp_path_factory.mktemp("source"), small, sources).needed()


@pytest.fixture(scope="module")
def pictures(sources: DataSources) -> AutoencoderData:
    return small_pictures(sources)


@pytest.fixture
def runner(small: HalfData, sources: DataSources, source: NeededRun, tmp_path: Path) -> Runner:
    return Runner(small, sources, tmp_path, [source])


def saved(attempt: Attempt) -> list[Sequence[SavedCheckpoint]]:
    """What each run of an attempt has left, or has gone on from."""
    return [sink.saved or sink.earlier for sink in attempt.sinks]


@pytest.mark.parametrize("name", KINDS)
def test_two_interruptions_change_no_bit(
    runner: Runner, source: NeededRun, pictures: AutoencoderData, name: str
) -> None:
    kind = KINDS[name]
    training = kind.make(training_hash(source.outcome.training))
    runner.engine = kind.engine
    if name.startswith("autoencoder"):
        runner.data = pictures
    elif name == "trial":
        runner.needed = ()  # no earlier trials
    whole = runner.start([training])
    chance = random.Random(name)  # noqa: S311 - where to interrupt
    looks = whole.num_looks()
    first = runner.start([training], [chance.randrange(looks // 3, looks // 2)])
    assert isinstance(first.outcomes[0], StoppedError)
    second = runner.start([training], [chance.randrange(looks // 6, looks // 3)], saved(first))
    assert isinstance(second.outcomes[0], StoppedError)
    last = runner.start([training], earlier=saved(second))
    assert last.sinks[0].resumed_at
    assert_equal(last, whole)


def test_every_moment_will_do(runner: Runner) -> None:
    """In the middle of an epoch, in the validation, in the evaluation, in the export."""
    training = cnn(max_epochs=3, optimiser=ADAM, fraction_percent=20)
    whole = runner.start([training])
    stops = range(1, whole.num_looks(), 3)
    resumed: set[int | None] = set()
    for looks in stops:
        stopped = runner.start([training], [looks])
        again = runner.start([training], earlier=saved(stopped))
        assert_equal(again, whole)
        resumed.add(again.sinks[0].resumed_at)
    assert resumed >= {None, 1, 2, 3}


def test_a_pruned_trial_is_pruned_at_the_same_epoch(runner: Runner) -> None:
    """The rule knows the epochs of earlier attempts."""
    space = {"conv_layers": [1], "optimiser": ["SGD"], "learning_rate": [0.1]}
    fields: dict[str, Any] = {
        "search": {"method": "random", "pruning": True, "space": space},
        "max_epochs": 16,
        "fraction_percent": 20,
    }
    ran = run_small(make_trial(0, **fields), runner.folder / "0", runner.data, runner.sources)  # pyright: ignore[reportArgumentType]
    runner.needed = [improve(ran.needed(), number) for number in range(5)]
    whole = runner.start([make_trial(5, **fields)])
    assert whole.summary()["pruned"] is True
    assert whole.summary()["epochs"] == 8
    for looks in (whole.num_looks() // 2, whole.num_looks() - 12):
        stopped = runner.start([make_trial(5, **fields)], [looks])
        again = runner.start([make_trial(5, **fields)], earlier=saved(stopped))
        assert again.sinks[0].resumed_at
        assert_equal(again, whole)


def improve(needed: NeededRun, number: int) -> NeededRun:
    """The same trial with another number, and losses that are out of reach from epoch 8 on."""
    history = [
        m.model_copy(update={"val_loss": 99.0 if m.epoch < 8 else 1e-3})
        for m in needed.outcome.history
    ]
    trial = {**needed.outcome.summary["trial"], "number": number}
    summary = {**needed.outcome.summary, "val_loss": 1e-3, "trial": trial}
    outcome = needed.outcome.model_copy(update={"history": history, "summary": summary})
    return needed.model_copy(update={"outcome": outcome})


def heads(source: NeededRun) -> list[Training]:
    """Last layers with other seeds, shares, optimisers and endings."""
    digest = training_hash(source.outcome.training)
    wanted: list[dict[str, Any]] = [
        {"fraction_percent": 100, "max_epochs": 4},
        {"fraction_percent": 20, "optimiser": MOMENTUM, "schedule": "cosine"},
        {"fraction_percent": 70, "max_epochs": 3},
        {"fraction_percent": 50, "optimiser": {"learning_rate": 0.1}},
        {"fraction_percent": 35, "early_stopping": RULE},
    ]
    return [transfer("last_layer", seed, **fields)(digest) for seed, fields in enumerate(wanted, 1)]


def test_company_changes_no_bit_of_a_last_layer(runner: Runner, source: NeededRun) -> None:
    """Alone, by twos, all together: so a run that has crashed may go on alone."""
    trainings = heads(source)
    runner.num_threads = 2
    together = runner.start(trainings)
    for place, training in enumerate(trainings):
        assert_equal(runner.start([training]), together, 0, place)
    for places in ((0, 1), (4, 2)):
        some = runner.start([trainings[place] for place in places])
        for number, place in enumerate(places):
            assert_equal(some, together, number, place)


def test_a_pack_that_was_interrupted_goes_on(runner: Runner, source: NeededRun) -> None:
    """Its runs at different epochs; then each of them alone, as after a crash."""
    trainings = heads(source)
    whole = runner.start(trainings)
    looks = whole.num_looks(1)
    stopped = runner.start(trainings, [looks // 2, looks // 3, looks // 2, looks // 4, 3])
    assert all(isinstance(outcome, StoppedError) for outcome in stopped.outcomes.values())
    epochs = [[each.epoch for each in saved_of[:1]] for saved_of in saved(stopped)]
    assert len({tuple(each) for each in epochs}) > 2
    again = runner.start(trainings, earlier=saved(stopped))
    for place, training in enumerate(trainings):
        assert_equal(again, whole, place)
        assert_equal(runner.start([training], earlier=[saved(stopped)[place]]), whole, 0, place)


def test_a_damaged_checkpoint_is_passed_over(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    training = cnn(optimiser=MOMENTUM)
    whole = runner.start([training])
    stopped = runner.start([training], [whole.num_looks() // 2])
    newest, before, *_ = stopped.sinks[0].saved
    content = bytearray(newest.path.read_bytes())
    content[len(content) // 2] ^= 1
    newest.path.write_bytes(content)
    again = runner.start([training], earlier=[[newest, before]])
    assert again.sinks[0].resumed_at == before.epoch
    assert f"the checkpoint of epoch {newest.epoch} is left aside: it is damaged" in caplog.text
    assert_equal(again, whole)

    before.path.write_bytes(before.path.read_bytes()[:100])
    newest.path.unlink()
    from_start = runner.start([training], earlier=[[newest, before]])
    assert from_start.sinks[0].resumed_at == 0
    assert_equal(from_start, whole)


@pytest.mark.parametrize(
    "other",
    [
        {"optimiser": ADAM, "seeds": [7]},
        {"optimiser": ADAM, "model": {"dense_layers": 3}},
        {"optimiser": MOMENTUM},
    ],
    ids=["seed", "network", "optimiser"],
)
def test_what_another_training_has_left_is_not_used(
    runner: Runner, other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    training = cnn(optimiser=ADAM, max_epochs=2)
    theirs = runner.start([cnn(max_epochs=3, **other)])
    ours = runner.start([training], earlier=saved(theirs))
    assert ours.sinks[0].resumed_at == 0
    assert "another training" in caplog.text
    assert_equal(ours, runner.start([training]))


@pytest.mark.parametrize(
    ("training", "before", "after"),
    [
        (cnn(optimiser=MOMENTUM, schedule="cosine"), "auto", "torch"),
        (cnn(optimiser=ADAM), "torch", "auto"),
        (mlp_training(max_epochs=EPOCHS), "auto", "torch"),
    ],
    ids=["kernel to torch", "torch to kernel", "perceptron"],
)
def test_another_engine_takes_over(
    runner: Runner,
    training: Training,
    before: Engine,
    after: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the same curves up to rounding, and a word about it."""
    runner.engine = before
    whole = runner.start([training])
    stopped = runner.start([training], [whole.num_looks() // 2])
    runner.engine = after
    again = runner.start([training], earlier=saved(stopped))
    assert again.sinks[0].resumed_at
    assert "last bits may differ" in caplog.text
    for ours, theirs in zip(
        again.figures(), whole.figures()[again.sinks[0].resumed_at :], strict=True
    ):
        for name in ("train_loss", "val_loss"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-3)
