from pathlib import Path
from typing import Any

import pytest
import torch
from ml_cases import SmallExamples, make_training

from fmx_ml.engine import features
from fmx_ml.engine.features import extract, fit_last_layer, has_fixed_features
from fmx_ml.engine.objective import Classification
from fmx_ml.engine.train import fit
from fmx_ml.models import build
from fmx_ml.models.cnn import Cnn
from fmx_ml.sinks import FolderSink
from fmx_ml.trainings import CnnTraining

OBJECTIVE = Classification(5)


def make_frozen(training: CnnTraining) -> Cnn:
    model = build(training.model, 5, torch.Generator().manual_seed(0))
    model.freeze()
    return model


def never() -> None:
    pass


@pytest.mark.parametrize(
    "fields",
    [
        {"optimiser": {"learning_rate": 0.1}},
        {
            "optimiser": {"name": "AdamW", "learning_rate": 0.005, "weight_decay": 0.05},
            "model": {"conv_layers": 1, "dense_layers": 3},
        },
        {"model": {"batch_norm": True, "dense_layers": 1}, "schedule": "cosine", "batch_size": 64},
    ],
    ids=["SGD", "the report's best", "batch norm, cosine"],
)
def test_features_give_what_the_whole_network_gives(
    examples: SmallExamples, tmp_path: Path, fields: dict[str, Any]
) -> None:
    training = make_training(max_epochs=4, **fields)
    slow_model, fast_model = make_frozen(training), make_frozen(training)
    args = OBJECTIVE, examples.train, examples.val, training
    slow = fit(slow_model, *args, FolderSink(tmp_path))
    fast = fit_last_layer(fast_model, *args, FolderSink(tmp_path))
    assert fast.best_epoch == slow.best_epoch
    for ours, theirs in zip(fast.history, slow.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-5)
        assert ours.val_loss == pytest.approx(theirs.val_loss, abs=1e-5)
        assert ours.train_accuracy == pytest.approx(theirs.train_accuracy, abs=2 / 1_500)
        assert ours.val_accuracy == pytest.approx(theirs.val_accuracy, abs=2 / 500)
    for weights, others in (
        (fast.best_weights, slow.best_weights),
        (fast.last_weights, slow.last_weights),
    ):
        assert list(weights) == list(others)
        for name, weight in others.items():
            assert torch.allclose(weights[name], weight, atol=1e-5)
    for name, weight in slow_model.state_dict().items():
        assert torch.allclose(fast_model.state_dict()[name], weight, atol=1e-5)


def test_features_are_what_the_last_layer_takes(examples: SmallExamples) -> None:
    model = make_frozen(make_training())
    found = extract(model, examples.train, never)
    assert found.images_NCHW.shape == (1_500, 80)
    assert not found.images_NCHW.is_inference()
    assert torch.equal(found.labels_N, examples.train.labels_N)
    logits = model.denses[-1](found.images_NCHW)
    assert torch.allclose(logits, model(examples.train.images_NCHW), atol=1e-6)


def test_what_changes_by_chance_has_no_fixed_features(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_training()
    assert has_fixed_features(make_frozen(plain), plain)
    free = build(plain.model, 5, torch.Generator().manual_seed(0))
    assert not has_fixed_features(free, plain)
    for fields in ({"augmentation": {"flip": True}}, {"model": {"dropout": 0.1}}):
        training = make_training(**fields)
        assert not has_fixed_features(make_frozen(training), training)
    monkeypatch.setattr(features, "_MAX_FEATURES", 79)
    assert not has_fixed_features(make_frozen(plain), plain)
