import numpy as np
import pytest
import torch
from ml_cases import SmallExamples
from torch import nn

from fmx_ml.data.loader import HalfData
from fmx_ml.engine.evaluate import (
    Examples,
    count_confusion,
    judge,
    measure,
    predict,
    score_classes,
    to_device,
)
from fmx_ml.models import build
from fmx_ml.specs import CnnSpec


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build(CnnSpec(), 5, torch.Generator().manual_seed(0))


def never() -> None:
    pass


def test_pixels_become_minus_one_to_one(small: HalfData) -> None:
    examples = to_device(small.val, torch.device("cpu"))
    assert examples.images_NCHW.shape == (500, 1, 28, 28)
    assert examples.images_NCHW.dtype == torch.float32
    raw = torch.from_numpy(small.val.images_NHW).double()[:, None]
    expected = (raw / 255 - 0.5) / 0.5
    assert (examples.images_NCHW.double() - expected).abs().max() < 1e-6
    assert examples.images_NCHW.min() == -1
    assert examples.images_NCHW.max() == 1


def test_measure_is_a_mean_over_pictures_whatever_the_last_batch(
    small: HalfData, model: nn.Module
) -> None:
    """1,500 pictures are one batch of 1,000 and one of 500: a mean of means would be wrong."""
    examples = to_device(small.train, torch.device("cpu"))
    # Labels that are all wrong in the last batch make the two means differ.
    labels = examples.labels_N.clone()
    labels[1_000:] = (labels[1_000:] + 1) % 5
    examples = Examples(examples.images_NCHW, labels)
    logits = model(examples.images_NCHW)
    expected = nn.CrossEntropyLoss()(logits, labels).item()
    loss, accuracy = measure(model, examples, never)
    assert loss == pytest.approx(expected, abs=1e-6)
    assert accuracy == int((logits.argmax(1) == labels).sum()) / 1_500


def test_measure_asks_whether_to_stop(small: HalfData, model: nn.Module) -> None:
    asked: list[int] = []
    measure(model, to_device(small.train, torch.device("cpu")), lambda: asked.append(1))
    assert len(asked) == 2


def test_probabilities(small: HalfData, model: nn.Module) -> None:
    examples = to_device(small.val, torch.device("cpu"))
    probabilities = predict(model, examples)
    assert probabilities.shape == (500, 5)
    assert probabilities.dtype == np.float32
    assert probabilities.sum(1) == pytest.approx(np.ones(500), abs=1e-6)
    assert np.array_equal(probabilities.argmax(1), model(examples.images_NCHW).argmax(1).numpy())


def test_confusion_counts_actual_down_and_predicted_across() -> None:
    labels, predictions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    assert count_confusion(labels, predictions, 3) == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_scores_are_by_the_definitions() -> None:
    scores = score_classes([[8, 2, 0], [1, 9, 0], [3, 3, 4]], ["a", "b", "c"])
    assert scores[0] == {
        "class": "a", "label": 0, "precision": 8 / 12, "recall": 0.8, "f1": 16 / 22, "support": 10,
    }  # fmt: skip
    assert scores[2]["precision"] == 1
    assert scores[2]["recall"] == 0.4


def test_scores_without_anything_to_divide_are_none() -> None:
    scores = score_classes([[0, 5], [0, 5]], ["a", "b"])
    assert scores[0]["precision"] is None
    assert scores[0]["recall"] == 0
    assert scores[0]["f1"] == 0
    empty = score_classes([[0, 0], [0, 5]], ["a", "b"])[0]
    assert (empty["precision"], empty["recall"], empty["f1"]) == (None, None, None)


def test_judging_is_measuring_and_predicting_at_once(examples: SmallExamples) -> None:
    """To the bit, of a network with more outputs than classes too."""
    model = build(CnnSpec(), 7, torch.Generator().manual_seed(0))
    loss, accuracy, probabilities_NK = judge(model, examples.val, lambda: None, 5)
    assert (loss, accuracy) == measure(model, examples.val, lambda: None, 5)
    assert np.array_equal(probabilities_NK, predict(model, examples.val, 5))
