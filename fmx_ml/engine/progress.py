"""What has come of a training so far."""

import math
import time
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from fmx_ml.engine.checkpoint import Checkpoint, Tensors
from fmx_ml.engine.learner import Learner
from fmx_ml.engine.resuming import resume
from fmx_ml.sinks import EpochMetrics, Sink

BestOn = Literal["val_loss", "train_loss"]


@dataclass
class Progress:
    """The epochs that have ended, and the weights of the best and of the last of them.

    The best epoch has the lowest loss, the first of equals. Seconds are those of all attempts.
    """

    training: str  # its hash
    best_on: BestOn
    history: list[EpochMetrics] = field(default_factory=list[EpochMetrics])
    best_epoch: int = 0
    best_weights: Tensors = field(default_factory=dict[str, Tensor])
    last_weights: Tensors = field(default_factory=dict[str, Tensor])
    _before: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Those that the training has taken."""
        return self._before + time.perf_counter() - self._began

    def note(self, metrics: EpochMetrics, weights: Tensors) -> None:
        """An epoch has ended, with such weights."""
        self.history.append(metrics)
        self.last_weights = weights
        if self._loss(len(self.history)) < self._loss(self.best_epoch):
            self.best_epoch, self.best_weights = len(self.history), weights

    def _loss(self, epoch: int) -> float:
        return getattr(self.history[epoch - 1], self.best_on) if epoch else math.inf

    def resume(self, learner: Learner, sink: Sink, num_steps: int) -> None:
        """Goes on where an earlier attempt has come to; each epoch has so many steps."""
        maker = learner.maker
        found = resume(
            sink,
            self.training,
            maker,
            lambda found: learner.restore(found, found.epoch * num_steps),
        )
        if found is not None:
            self.history = list(found.history)
            self.best_epoch, self.best_weights = found.best_epoch, found.best_weights
            self.last_weights, self._before = found.last_weights, found.seconds

    def checkpoint(self, learner: Learner) -> Checkpoint:
        """What can be gone on from after the epoch that was noted last."""
        return Checkpoint(
            training=self.training,
            maker=learner.maker,
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            seconds=self.seconds,
            best_weights=self.best_weights,
            last_weights=self.last_weights,
            moments=learner.moments(),
            generators=learner.states(),
        )
