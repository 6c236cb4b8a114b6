import warnings

import numpy as np
import pytest

from fmx_ml.engine.early_stopping import has_converged, watched_losses
from fmx_ml.sinks import EpochMetrics
from fmx_ml.specs import EarlyStopping

RULE = EarlyStopping()


def converged_by_numpy(losses: list[float], rule: EarlyStopping) -> bool:
    """The report's condition as it is computed there: the mean of nothing is NaN."""
    window = rule.window
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        rise = np.mean(losses[-window:]) - np.mean(losses[-2 * window : -window])
    return len(losses) >= rule.min_epochs and bool(rise > rule.threshold)


@pytest.mark.parametrize("rule", [RULE, EarlyStopping(window=3, threshold=-0.001, min_epochs=5)])
def test_it_is_the_reports_arithmetic_at_every_epoch(rule: EarlyStopping) -> None:
    rng = np.random.default_rng(5)
    stops = set[bool]()
    for _ in range(30):
        losses = (0.05 + 0.004 * rng.standard_normal(100).cumsum()).tolist()
        for epoch in range(1, 101):
            ours = has_converged(losses[:epoch], rule)
            assert ours == converged_by_numpy(losses[:epoch], rule)
            stops.add(ours)
    assert stops == {True, False}


def test_nothing_stops_while_the_earlier_window_is_empty() -> None:
    assert not has_converged([float(n) for n in range(20)], RULE)


def test_the_earlier_window_may_be_short() -> None:
    """At epoch 21 it holds one epoch: the first."""
    assert has_converged([0.1] + [0.2] * 20, RULE)
    assert not has_converged([0.3] + [0.2] * 20, RULE)


def test_nothing_stops_before_min_epochs() -> None:
    rule = EarlyStopping(window=2, min_epochs=6)
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert not has_converged(rising[:5], rule)
    assert has_converged(rising, rule)


def test_the_threshold_must_be_exceeded() -> None:
    rule = EarlyStopping(window=1, threshold=0.25, min_epochs=1)
    assert not has_converged([0.5, 0.75], rule)
    assert has_converged([0.5, 0.7501], rule)


def test_a_rule_looks_at_the_loss_it_names() -> None:
    history = [
        EpochMetrics(epoch=n, train_loss=n / 10, val_loss=n / 20, seconds=1) for n in (1, 2, 3)
    ]
    assert watched_losses(history, RULE, 32) == [0.05, 0.1, 0.15]
    on_train = EarlyStopping(on="train_loss")
    assert watched_losses(history, on_train, 32) == [0.1, 0.2, 0.3]
    divided = EarlyStopping(on="train_loss", divide_by_batch_size=True)
    assert watched_losses(history, divided, 32) == [0.1 / 32, 0.2 / 32, 0.3 / 32]


def test_dividing_by_the_batch_size_weakens_the_rule() -> None:
    history = [EpochMetrics(epoch=n, val_loss=n / 100, seconds=1) for n in range(1, 5)]
    for divides in (False, True):
        rule = EarlyStopping(window=2, min_epochs=4, threshold=0.001, divide_by_batch_size=divides)
        assert has_converged(watched_losses(history, rule, 32), rule) is not divides
