"""Runs alone and together, on a few real pictures."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_cases import SmallExamples
from torch import nn

from fmx_ml.engine.ensemble.together import Entrant, fit_together
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.train import Fit, FitTraining, fit
from fmx_ml.sinks import EpochMetrics, FolderSink


@dataclass
class Case:
    """One run: its training, its network and its part of the pictures."""

    training: FitTraining
    model: nn.Module
    num_examples: int

    def rows(self) -> torch.Tensor:
        """Every so many pictures: those of a small part are no slice of the large one's."""
        return torch.arange(self.num_examples) * 7 % 1_500


class Bench:
    """Trains cases on the same pictures either way."""

    def __init__(self, objective: Objective, examples: SmallExamples, folder: Path) -> None:
        self.objective, self.train, self.val = objective, examples.train, examples.val
        self.folder = folder

    def alone(self, case: Case) -> Fit:
        part = Examples(*self.train.take(case.rows()))
        sink = FolderSink(self.folder)
        model = copy.deepcopy(case.model)
        return fit(model, self.objective, part, self.val, case.training, sink)

    def together(
        self, cases: Sequence[Case], sinks: Sequence[FolderSink] | None = None
    ) -> dict[int, Any]:
        sinks = sinks or [FolderSink(self.folder) for _ in cases]
        outcomes: dict[int, Fit | Exception] = {}

        def ended(place: int, outcome: Fit | Exception) -> None:
            assert place not in outcomes
            outcomes[place] = outcome

        entrants = [
            Entrant(case.training, sink, case.model, case.rows())
            for case, sink in zip(cases, sinks, strict=True)
        ]
        fit_together(self.objective, self.train, self.val, entrants, ended)
        return outcomes


def assert_alike(ours: Fit, theirs: Fit, weights_tolerance: float = 1e-5) -> None:
    """The same endings, curves within 1e-4, and weights up to rounding."""
    assert ours.best_epoch == theirs.best_epoch
    assert ours.ending == theirs.ending
    assert len(ours.history) == len(theirs.history)
    for one, other in zip(ours.history, theirs.history, strict=True):
        _assert_metrics_alike(one, other)
    for weights, others in (
        (ours.best_weights, theirs.best_weights),
        (ours.last_weights, theirs.last_weights),
    ):
        assert list(weights) == list(others)
        for name, weight in weights.items():
            assert (weight - others[name]).abs().max().item() < weights_tolerance, name


def _assert_metrics_alike(one: EpochMetrics, other: EpochMetrics) -> None:
    assert one.epoch == other.epoch
    assert one.train_loss == pytest.approx(other.train_loss, abs=1e-4)
    assert one.val_loss == pytest.approx(other.val_loss, abs=1e-4)
    if other.train_accuracy is None:
        assert one.train_accuracy is None
        assert one.val_accuracy is None
    else:
        assert one.train_accuracy == pytest.approx(other.train_accuracy, abs=0.005)
        assert one.val_accuracy == pytest.approx(other.val_accuracy, abs=0.005)
