import json
from pathlib import Path
from typing import Any

import pytest
from cnn_cases import Ran, make_trial, run_small
from safetensors.numpy import load_file

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import ExportError
from fmx_ml.pipelines import common
from fmx_ml.results import NeededRun
from fmx_ml.trainings import CnnTraining

SMALL_SPACE: dict[str, Any] = {
    "conv_layers": [1],
    "dense_layers": [2],
    "optimiser": ["SGD"],
    "learning_rate": [0.1],
    "weight_decay": [0.0],
}
MODEL = {"model.safetensors", "model.json", "model.onnx"}


@pytest.fixture
def run(tmp_path: Path, small: HalfData, sources: DataSources) -> Any:
    """Runs a trial in a folder of its own."""
    count = 0

    def start(number: int, *needed: NeededRun, **fields: Any) -> Ran:
        nonlocal count
        count += 1
        training = make_trial(number, **fields)
        return run_small(training, tmp_path / str(count), small, sources, needed)

    return start


def space(method: str = "random", *, pruning: bool = False, **fields: Any) -> dict[str, Any]:
    return {"method": method, "pruning": pruning, "space": {**SMALL_SPACE, **fields}}


def test_a_trial_is_the_training_of_its_configuration(
    run: Any, small: HalfData, sources: DataSources, tmp_path: Path
) -> None:
    trial = run(3, search=space(width=[2], kernel_size=[3], batch_norm=[True], momentum=[0.9]))
    training = CnnTraining.model_validate(trial.summary["configuration"])
    assert training.model.filters == (12,)
    assert training.optimiser.momentum == 0.9
    plain = run_small(training, tmp_path / "plain", small, sources)
    assert trial.figures() == plain.figures()
    assert set(trial.sink.artifacts) == set(plain.sink.artifacts) >= MODEL
    for name in ("model.safetensors", "model.onnx"):
        assert (trial.folder / name).read_bytes() == (plain.folder / name).read_bytes()
    own = {"trial", "configuration", "pruned", "diverged"}
    assert set(trial.summary) == set(plain.summary) | own
    assert trial.summary["test_accuracy"] == plain.summary["test_accuracy"]


def test_its_summary_is_json_and_says_what_was_tried(run: Any) -> None:
    summary = run(3, search=space(), max_epochs=1).summary
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["trial"] == {
        "number": 3,
        "params": {
            "conv_layers": 1, "dense_layers": 2, "optimiser": "SGD", "learning_rate": 0.1,
            "weight_decay": 0.0, "dropout": 0.0,
            "batch_size": 100, "width": 1, "kernel_size": 5, "batch_norm": False, "momentum": 0.0,
            "schedule": "constant", "flip": False, "shift": 0,
        },
    }  # fmt: skip
    assert (summary["pruned"], summary["diverged"]) == (False, False)


def test_trials_learn_from_trials(run: Any) -> None:
    """Eleven real ones are enough for the estimator; equal ones are equal to the last bit."""
    wanted = {"search": space("tpe", learning_rate={"low": 0.001, "high": 0.3, "log": True})}
    quick = {**wanted, "max_epochs": 1, "fraction_percent": 10}
    needed = [run(number, **quick).needed() for number in range(11)]
    one, two = run(11, *needed, **quick), run(11, *reversed(needed), **quick)
    blind = run(11, **quick)
    assert one.summary["trial"] == two.summary["trial"] != blind.summary["trial"]
    assert one.figures() == two.figures()
    files = [(each.folder / "model.safetensors").read_bytes() for each in (one, two)]
    assert files[0] == files[1]


def better(needed: NeededRun, number: int, loss: float) -> NeededRun:
    """The same run as another number's, with losses out of reach."""
    history = [m.model_copy(update={"val_loss": loss}) for m in needed.outcome.history]
    trial = {**needed.outcome.summary["trial"], "number": number}
    summary = {**needed.outcome.summary, "val_loss": loss, "trial": trial}
    outcome = needed.outcome.model_copy(update={"history": history, "summary": summary})
    return needed.model_copy(update={"outcome": outcome})


def test_a_pruned_trial_ends_early_and_leaves_its_best_model(run: Any) -> None:
    fields = {"search": space(pruning=True), "max_epochs": 8}
    first = run(0, **fields)
    assert first.summary["pruned"] is False
    needed = [better(first.needed(), number, 0.001) for number in range(5)]
    pruned = run(5, *needed, **fields)
    assert pruned.summary["pruned"] is True
    assert pruned.summary["stopped_early"] is False
    assert pruned.summary["epochs"] == 2  # a quarter of the epochs is not looked at
    assert set(pruned.sink.artifacts) >= MODEL
    assert pruned.figures() == first.figures()[:2]
    assert 0 < pruned.summary["test_accuracy"] < 1


def test_a_trial_that_diverges_at_once_is_a_finished_one_without_a_model(run: Any) -> None:
    diverged = run(0, search=space(learning_rate=[1e30]))
    summary = diverged.summary
    assert summary["diverged"] is True
    assert summary["epochs"] == 0
    assert summary["configuration"]["optimiser"]["learning_rate"] == 1e30
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert not MODEL & set(diverged.sink.artifacts)
    assert load_file(diverged.folder / "test-set.safetensors")["labels"].shape == (500,)
    later = run(1, diverged.needed(), search=space("tpe", pruning=True))
    assert later.summary["diverged"] is False


def test_a_trial_whose_export_disagrees_counts_as_diverged(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ExportError("a probability of the export differs")

    monkeypatch.setattr(common, "export_onnx", refuse)
    trial = run(0, search=space(), max_epochs=1)
    assert trial.summary["diverged"] is True
    assert trial.summary["val_loss"] == trial.sink.history[0].val_loss
    assert not MODEL & set(trial.sink.artifacts)
