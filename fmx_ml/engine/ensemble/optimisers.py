"""The optimisers of torch.optim for several runs at once, each with a pace of its own.

A step's pace is a row of numbers a member, so one and the same arithmetic serves different learning
rates, decays and schedules; it is torch's own up to the last bit or two.

Legend of shapes: M members, W weights of one of them, S steps, Q numbers of a pace.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmx_ml.engine.ensemble.stack import Stack
from fmx_ml.engine.train import FitTraining
from fmx_ml.specs import OptimiserSpec
from fmx_ml.trainings import CnnTraining

Family = Literal["SGD", "Adam"]

_FIRST_DECAY, _SECOND_DECAY, _EPSILON = 0.9, 0.999, 1e-8  # torch's defaults of Adam

# Columns of a pace: of what a step multiplies the gradient or its mean by; the penalty that is
# added to the gradient; what the weights are multiplied by before the step; momentum; what corrects
# the root of the second moment; and one over the number of pictures in the batch.
RATE, PENALTY, SHRINK, MOMENTUM, ROOT, SHARE = range(6)
NUM_COLUMNS = 6


def family_of(spec: OptimiserSpec) -> Family:
    """Adam and AdamW differ in their paces only."""
    return "SGD" if spec.name == "SGD" else "Adam"


def make_pace(training: FitTraining, num_examples: int, epoch: int) -> NDArray[np.float32]:
    """The pace [S, Q] of each step of an epoch of one run."""
    spec, size = training.optimiser, training.batch_size
    num_steps = math.ceil(num_examples / size)
    done_S = np.arange((epoch - 1) * num_steps, epoch * num_steps)
    rate_S = spec.learning_rate * _schedule(training, done_S, num_steps)
    pace_SQ = np.zeros((num_steps, NUM_COLUMNS))
    pace_SQ[:, RATE] = rate_S
    pace_SQ[:, PENALTY] = 0 if spec.name == "AdamW" else spec.weight_decay
    pace_SQ[:, SHRINK] = 1 - rate_S * spec.weight_decay if spec.name == "AdamW" else 1
    pace_SQ[:, MOMENTUM] = spec.momentum
    pace_SQ[:, SHARE] = 1 / size
    pace_SQ[-1, SHARE] = 1 / (num_examples - (num_steps - 1) * size)
    if family_of(spec) == "Adam":
        pace_SQ[:, RATE] /= 1 - _FIRST_DECAY ** (done_S + 1)
        pace_SQ[:, ROOT] = 1 / np.sqrt(1 - _SECOND_DECAY ** (done_S + 1))
    return pace_SQ.astype(np.float32)


def _schedule(
    training: FitTraining, done_S: NDArray[np.int64], num_steps: int
) -> NDArray[np.float64]:
    """What the learning rate is multiplied by after so many steps, as `make_schedule` has it."""
    if not isinstance(training, CnnTraining) or training.schedule == "constant":
        return np.ones(len(done_S))
    return (1 + np.cos(np.pi * done_S / (training.max_epochs * num_steps))) / 2


@dataclass(frozen=True)
class StackedOptimiser:
    """Steps of all members' optimisers; what no spec asks for is not computed."""

    has_penalty: bool
    has_shrinkage: bool
    has_momentum: bool

    @classmethod
    def of(cls, specs: Sequence[OptimiserSpec]) -> "StackedOptimiser":
        """What serves all of these."""
        return cls(
            has_penalty=any(spec.weight_decay and spec.name != "AdamW" for spec in specs),
            has_shrinkage=any(spec.weight_decay and spec.name == "AdamW" for spec in specs),
            has_momentum=any(spec.momentum for spec in specs),
        )

    def step(
        self, stack: Stack, gradients_MW: Tensor, pace_MQ: Tensor, families: Sequence[Family]
    ) -> None:
        """Moves the weights of the first members; the gradients are used up."""
        start = 0
        for family, group in groupby(families):
            stop = start + len(list(group))
            rows = slice(start, stop)
            move = self._step_sgd if family == "SGD" else self._step_adam
            move(stack, rows, gradients_MW[rows], pace_MQ[rows])
            start = stop

    def _step_sgd(self, stack: Stack, rows: slice, gradients: Tensor, pace: Tensor) -> None:
        """Torch's SGD, whose momentum is Nesterov's."""
        weights = stack.weights_MW[rows]
        if self.has_penalty:
            gradients.addcmul_(weights, _column(pace, PENALTY))
        if self.has_momentum:
            momentum, velocities = _column(pace, MOMENTUM), stack.first_moments_MW[rows]
            velocities.mul_(momentum).add_(gradients)
            gradients.addcmul_(velocities, momentum)
        weights.addcmul_(gradients, _column(pace, RATE), value=-1)

    def _step_adam(self, stack: Stack, rows: slice, gradients: Tensor, pace: Tensor) -> None:
        """Torch's Adam and AdamW."""
        weights = stack.weights_MW[rows]
        means, squares = stack.first_moments_MW[rows], stack.second_moments_MW[rows]
        if self.has_penalty:
            gradients.addcmul_(weights, _column(pace, PENALTY))
        if self.has_shrinkage:
            weights.mul_(_column(pace, SHRINK))
        means.lerp_(gradients, 1 - _FIRST_DECAY)
        squares.mul_(_SECOND_DECAY).addcmul_(gradients, gradients, value=1 - _SECOND_DECAY)
        roots = squares.sqrt().mul_(_column(pace, ROOT)).add_(_EPSILON)
        weights.addcmul_(means.div(roots), _column(pace, RATE), value=-1)


def _column(pace_MQ: Tensor, column: int) -> Tensor:
    return pace_MQ[:, column : column + 1]


def gather_gradients(losses_M: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """The gradients [M, W] of each member's own loss."""
    gradients = torch.autograd.grad(losses_M.sum(), leaves)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)
