"""A run among those that train together: how far it has come, and how it goes on after a break."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fmx_ml.engine.checkpoint import Checkpoint, Tensors, describe_maker
from fmx_ml.engine.ensemble.batches import Order
from fmx_ml.engine.ensemble.stack import Stack
from fmx_ml.engine.learner import require_fit, require_states, slots_of
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.resuming import resume
from fmx_ml.engine.stop import StopCheck
from fmx_ml.engine.train import Ending, Fit, FitTraining, find_ending
from fmx_ml.sinks import EpochMetrics, Sink
from fmx_ml.trainings import training_hash

ENGINE = "torch ensemble"


@dataclass(frozen=True)
class Entrant:
    """A run that is to train with others: its network, and which pictures of theirs it learns from.

    The network is only read; of a frozen one the last layer learns.
    """

    training: FitTraining
    sink: Sink
    model: nn.Module
    rows_N: Tensor


@dataclass
class Run:
    """A run on its way. `checkpoint` is what it goes on from, until it has a row of the stack."""

    place: int
    entrant: Entrant
    order: Order
    check_stop: StopCheck
    maker: str
    history: list[EpochMetrics] = field(default_factory=list[EpochMetrics])
    best_epoch: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    error: Exception | None = None
    checkpoint: Checkpoint | None = None

    @property
    def training(self) -> FitTraining:
        """What it trains."""
        return self.entrant.training

    @property
    def slots(self) -> Sequence[str]:
        """What its optimiser remembers of each weight."""
        return slots_of(self.training.optimiser)

    def ending(self) -> Ending | None:
        """What ends it after the epoch that was noted last, if anything does."""
        return find_ending(self.history, self.training)

    def note(self, metrics: EpochMetrics, loss: float, seconds: float) -> bool:
        """An epoch has ended; answers whether it is the best so far."""
        self.history.append(metrics)
        self.seconds += seconds
        is_best = loss < self.best_loss
        if is_best:
            self.best_epoch, self.best_loss = len(self.history), loss
        return is_best

    def go_on(self, objective: Objective) -> None:
        """Takes up the newest checkpoint that its sink has, if one fits."""
        digest = training_hash(self.training)
        found = resume(self.entrant.sink, digest, self.maker, self._require_fit)
        if found is None:
            return
        self.checkpoint, self.history = found, list(found.history)
        self.best_epoch, self.seconds = found.best_epoch, found.seconds
        self.best_loss = getattr(self.history[found.best_epoch - 1], objective.best_on)
        self.order.restore(found.epoch, found.generators["order"])

    def _require_fit(self, checkpoint: Checkpoint) -> None:
        weights = learning_weights(self.entrant.model)
        shapes = {name: weight.shape for name, weight in weights.items()}
        require_fit(checkpoint.last_weights, shapes)
        require_fit(checkpoint.best_weights, shapes)
        for slot in self.slots:
            require_fit(checkpoint.moments.get(slot, {}), shapes)
        require_states(checkpoint.generators, {"order": self.order.generator})

    def conclude(self, ending: Ending, best_weights: Tensors, last_weights: Tensors) -> Fit:
        """The finished training."""
        return Fit(
            history=self.history,
            best_epoch=self.best_epoch,
            best_weights=dict(best_weights),
            last_weights=dict(last_weights),
            ending=ending,
            seconds=self.seconds,
            engine=ENGINE,
        )

    def keep(self, row: int, stack: Stack) -> Callable[[Path], None]:
        """Writes what it can be gone on from; the stack is a copy that no longer changes."""
        history, state = tuple(self.history), self.order.state
        best_epoch, seconds = self.best_epoch, self.seconds

        def write(path: Path) -> None:
            moments = (stack.first_moments_MW, stack.second_moments_MW)
            slots = zip(self.slots, moments, strict=False)
            Checkpoint(
                training=training_hash(self.training),
                maker=self.maker,
                history=history,
                best_epoch=best_epoch,
                seconds=seconds,
                best_weights=stack.take_out(stack.best_MW, row),
                last_weights=stack.take_out(stack.weights_MW, row),
                moments={slot: stack.take_out(matrix, row) for slot, matrix in slots},
                generators={"order": state},
            ).write(path)

        return write


def begin(place: int, entrant: Entrant, objective: Objective, device: torch.device) -> Run:
    """A run that may go on where an earlier attempt has come to."""
    order = Order(entrant.training, entrant.rows_N)
    check_stop = StopCheck(entrant.sink)
    run = Run(place, entrant, order, check_stop, describe_maker(ENGINE, device))
    run.go_on(objective)
    return run


def learning_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that learn, by name."""
    return {
        name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad
    }
