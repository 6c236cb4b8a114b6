"""The reference training loop of a classifier.

Legend of shapes: N examples, B batch, C channels, H W pixels, K classes, S steps of an epoch.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmx_ml.engine.early_stopping import has_converged
from fmx_ml.engine.evaluate import Examples, measure
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.stop import StopCheck
from fmx_ml.errors import DivergedError
from fmx_ml.sinks import EpochMetrics, Sink
from fmx_ml.specs import OptimiserSpec
from fmx_ml.trainings import CnnTraining

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Fit:
    """A finished training. The best epoch has the lowest validation loss, the first of equals."""

    history: list[EpochMetrics]
    best_epoch: int
    best_weights: Weights
    last_weights: Weights
    stopped_early: bool
    seconds: float


def fit(model: nn.Module, train: Examples, val: Examples, training: CnnTraining, sink: Sink) -> Fit:
    """Trains the model in place until its validation loss has converged or max_epochs have run.

    Raises:
        DivergedError: a loss is no longer finite.
        StoppedError: the sink, asked between steps every quarter of a second, wants an end.
    """
    began = time.perf_counter()
    order = torch.Generator().manual_seed(derive_seed(training.seed, "order"))
    optimiser = make_optimiser(training.optimiser, model)
    check_stop = StopCheck(sink)
    history: list[EpochMetrics] = []
    val_losses: list[float] = []
    best_epoch, best_weights, converged = 0, {}, False
    for epoch in range(1, training.max_epochs + 1):
        started = time.perf_counter()
        rows_N = torch.randperm(len(train), generator=order).to(train.labels_N.device)
        batches = rows_N.split(training.batch_size)
        train_loss, train_accuracy = train_epoch(
            model, optimiser, train, batches, epoch, check_stop
        )
        val_loss, val_accuracy = measure(model, val, check_stop)
        if not math.isfinite(val_loss):
            raise DivergedError(epoch, None, val_loss)
        if val_loss < min(val_losses, default=math.inf):
            best_epoch, best_weights = epoch, copy_weights(model)
        val_losses.append(val_loss)
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=time.perf_counter() - started,
        )
        history.append(metrics)
        sink.epoch(metrics)
        converged = has_converged(val_losses, training.early_stopping)
        if converged:
            break
    return Fit(
        history=history,
        best_epoch=best_epoch,
        best_weights=best_weights,
        last_weights=copy_weights(model),
        stopped_early=converged,
        seconds=time.perf_counter() - began,
    )


def train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    train: Examples,
    batches: Sequence[Tensor],
    epoch: int,
    check_stop: Callable[[], None],
) -> tuple[float, float]:
    """One step a batch of row numbers; mean loss and accuracy as counted while training.

    Losses and hits stay on the device until the epoch's end.
    """
    device = train.labels_N.device
    losses_S = torch.empty(len(batches), dtype=torch.float64, device=device)
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    model.train()
    for step, rows_B in enumerate(batches):
        check_stop()
        labels_B = train.labels_N[rows_B]
        logits_BK = model(train.images_NCHW[rows_B])
        loss = cross_entropy(logits_BK, labels_B)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses_S[step] = loss.detach()
        num_correct += (logits_BK.argmax(1) == labels_B).sum()
    _require_finite(losses_S, epoch)
    sizes_S = torch.tensor([len(rows_B) for rows_B in batches], device=device)
    return (losses_S * sizes_S).sum().item() / len(train), num_correct.item() / len(train)


def _require_finite(losses_S: Tensor, epoch: int) -> None:
    broken = (~losses_S.isfinite()).nonzero()
    if len(broken):
        step = int(broken[0].item())
        raise DivergedError(epoch, step + 1, losses_S[step].item())


def copy_weights(model: nn.Module) -> Weights:
    """The weights as they are now, in memory of their own."""
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def make_optimiser(spec: OptimiserSpec, model: nn.Module) -> torch.optim.Optimizer:
    """The spec's optimiser of torch.optim over all of the model's weights."""
    weights, lr, decay = model.parameters(), spec.learning_rate, spec.weight_decay
    match spec.name:
        case "SGD":
            return torch.optim.SGD(weights, lr=lr, weight_decay=decay)
        case "Adam":
            return torch.optim.Adam(weights, lr=lr, weight_decay=decay, fused=True)
        case "AdamW":
            return torch.optim.AdamW(weights, lr=lr, weight_decay=decay, fused=True)
