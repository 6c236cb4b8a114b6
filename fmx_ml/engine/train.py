"""The training loop of every network.

Legend of shapes: N examples, B batch, C channels, H W pixels, S steps of an epoch.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from fmx_ml.engine.early_stopping import has_converged, watched_losses
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.learner import Learner, find_generators, slots_of
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.progress import Progress
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.stop import StopCheck
from fmx_ml.errors import DivergedError
from fmx_ml.sinks import EpochMetrics, Sink
from fmx_ml.specs import OptimiserSpec
from fmx_ml.trainings import AutoencoderTraining, CnnTraining, MlpTraining, training_hash

Weights = dict[str, Tensor]
FitTraining = CnnTraining | AutoencoderTraining | MlpTraining
Ending = Literal["max_epochs", "converged", "pruned", "diverged"]


@dataclass(frozen=True)
class Fit:
    """A finished training. The best epoch has the lowest loss, the first of equals.

    `history` and the weights are those of epochs that ended; a training that diverged in its first
    epoch has none. `engine` is the name of what computed losses and gradients.
    """

    history: list[EpochMetrics]
    best_epoch: int
    best_weights: Weights
    last_weights: Weights
    ending: Ending
    seconds: float
    engine: str = "torch"

    @property
    def stopped_early(self) -> bool:
        """Whether the rule of early stopping ended it."""
        return self.ending == "converged"


def never(_: Sequence[EpochMetrics]) -> bool:
    """No history is reason to end."""
    return False


def fit(
    model: nn.Module,
    objective: Objective,
    train: Examples,
    val: Examples,
    training: FitTraining,
    sink: Sink,
    *,
    is_hopeless: Callable[[Sequence[EpochMetrics]], bool] = never,
    may_diverge: bool = False,
) -> Fit:
    """Trains the model in place until a loss has converged or max_epochs have run.

    It goes on from the newest checkpoint that the sink has, to the bits of a training that was
    never interrupted.

    Args:
        model: the network, on the examples' device.
        objective: what is minimised.
        train: what is learnt from.
        val: what is measured on after each epoch.
        training: seed, optimiser, batch size, epochs, early stopping, schedule.
        sink: told of each epoch, after which the training can be gone on with; asked between steps,
            every quarter of a second, whether to stop.
        is_hopeless: asked before each further epoch whether the history is reason to end.
        may_diverge: whether divergence ends the training like convergence does.

    Raises:
        DivergedError: a loss is no longer finite.
        StoppedError: the sink wants an end.
    """
    order = torch.Generator().manual_seed(derive_seed(training.seed, "order"))
    optimiser = make_optimiser(training.optimiser, model)
    schedule = make_schedule(training, optimiser, len(train))
    generators = find_generators(model, train, order)
    learner = Learner(model, optimiser, schedule, slots_of(training.optimiser), generators)
    progress = Progress(training_hash(training), objective.best_on)
    progress.resume(learner, sink, num_steps=math.ceil(len(train) / training.batch_size))
    check_stop = StopCheck(sink)
    while (ending := find_ending(progress.history, training, is_hopeless)) is None:
        epoch = len(progress.history) + 1
        started = time.perf_counter()
        rows_N = torch.randperm(len(train), generator=order).to(train.device)
        batches = rows_N.split(training.batch_size)
        try:
            train_loss, train_accuracy = train_epoch(
                model, objective, optimiser, train, batches, epoch, check_stop, schedule
            )
            val_loss, val_accuracy = _measure(model, objective, val, epoch, check_stop)
        except DivergedError:
            if not may_diverge:
                raise
            ending = "diverged"
            break
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=time.perf_counter() - started,
        )
        sink.epoch(metrics)
        progress.note(metrics, copy_weights(model))
        sink.checkpoint(epoch, progress.checkpoint(learner).write)
    return Fit(
        history=progress.history,
        best_epoch=progress.best_epoch,
        best_weights=dict(progress.best_weights),
        last_weights=dict(progress.last_weights),
        ending=ending,
        seconds=progress.seconds,
    )


def find_ending(
    history: Sequence[EpochMetrics],
    training: FitTraining,
    is_hopeless: Callable[[Sequence[EpochMetrics]], bool] = never,
) -> Ending | None:
    """What ends a training after its last epoch, if anything does."""
    rule = training.early_stopping
    if rule and has_converged(watched_losses(history, rule, training.batch_size), rule):
        return "converged"
    if len(history) == training.max_epochs:
        return "max_epochs"
    return "pruned" if history and is_hopeless(history) else None


def train_epoch(
    model: nn.Module,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    train: Examples,
    batches: Sequence[Tensor],
    epoch: int,
    check_stop: Callable[[], None],
    schedule: LambdaLR | None = None,
) -> tuple[float, float | None]:
    """One step a batch of row numbers; mean loss and accuracy as counted while training.

    Losses and hits stay on the device until the epoch's end.
    """
    losses_S = torch.empty(len(batches), dtype=torch.float64, device=train.device)
    hits: list[Tensor] = []
    model.train()
    for step, rows_B in enumerate(batches):
        check_stop()
        losses_S[step], num_hits = objective.derive(model, *train.take(rows_B))
        optimiser.step()
        if schedule is not None:
            schedule.step()
        if num_hits is not None:
            hits.append(num_hits)
    _require_finite(losses_S, epoch)
    sizes_S = torch.tensor([len(rows_B) for rows_B in batches], device=train.device)
    accuracy = torch.stack(hits).sum().item() / len(train) if hits else None
    return (losses_S * sizes_S).sum().item() / len(train), accuracy


def _measure(
    model: nn.Module,
    objective: Objective,
    val: Examples,
    epoch: int,
    check_stop: Callable[[], None],
) -> tuple[float, float | None]:
    loss, accuracy = objective.measure(model, val, check_stop)
    if not math.isfinite(loss):
        raise DivergedError(epoch, None, loss)
    return loss, accuracy


def _require_finite(losses_S: Tensor, epoch: int) -> None:
    broken = (~losses_S.isfinite()).nonzero()
    if len(broken):
        step = int(broken[0].item())
        raise DivergedError(epoch, step + 1, losses_S[step].item())


def copy_weights(model: nn.Module) -> Weights:
    """The weights as they are now, in memory of their own."""
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def make_optimiser(spec: OptimiserSpec, model: nn.Module) -> torch.optim.Optimizer:
    """The spec's optimiser of torch.optim over all of the model's weights that are not frozen."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    lr, decay = spec.learning_rate, spec.weight_decay
    match spec.name:
        case "SGD":
            return torch.optim.SGD(
                weights,
                lr=lr,
                weight_decay=decay,
                momentum=spec.momentum,
                nesterov=spec.momentum > 0,
            )
        case "Adam":
            return torch.optim.Adam(weights, lr=lr, weight_decay=decay, fused=True)
        case "AdamW":
            return torch.optim.AdamW(weights, lr=lr, weight_decay=decay, fused=True)


def make_schedule(
    training: FitTraining, optimiser: torch.optim.Optimizer, num_examples: int
) -> LambdaLR | None:
    """What sets the learning rate after each step; None where it is constant.

    A cosine falls from the learning rate at the first step to 0 after the last step of max_epochs
    (Loshchilov and Hutter, 2017, without restarts).
    """
    if not isinstance(training, CnnTraining) or training.schedule == "constant":
        return None
    num_steps = training.max_epochs * math.ceil(num_examples / training.batch_size)
    return LambdaLR(optimiser, lambda step: (1 + math.cos(math.pi * step / num_steps)) / 2)
