"""Objectives whose loss and gradients the kernel computes, in one pass over a batch.

To torch the loss is that of one operator: any optimiser, schedule or hook works as ever.

Legend of shapes: B batch, C channels, H W pixels, P weights in all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.kernel.network import Network


class MeanLoss(torch.autograd.Function):
    """The mean loss of a batch, and the hits; its gradient is there before it is asked for."""

    @staticmethod
    def forward(
        ctx: Any, network: Network, images_BCHW: Tensor, labels_B: Tensor, weights_P: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.gradient_P = torch.empty_like(weights_P)
        loss_sum, num_hits = network.run(images_BCHW, labels_B, ctx.gradient_P)
        hits = torch.tensor(num_hits)
        ctx.mark_non_differentiable(hits)
        return torch.tensor(loss_sum / len(labels_B)), hits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride] - torch's stub has no static one
        gradient_P: Tensor = ctx.gradient_P
        slope = grad_outputs[0]
        return None, None, None, gradient_P if slope.item() == 1 else gradient_P * slope


@dataclass(frozen=True)
class CompiledObjective:
    """What the network's own objective is, computed by the kernel."""

    best_on: Literal["val_loss", "train_loss"]
    recognises: bool

    def loss(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        network = cast("Network", model)
        loss, hits = MeanLoss.apply(network, images_BCHW, labels_B, network.weights_P)
        return loss, hits if self.recognises else None

    def measure(
        self, model: nn.Module, examples: Examples, check_stop: Callable[[], None]
    ) -> tuple[float, float | None]:
        network = cast("Network", model.eval())
        loss_sum, num_hits = 0.0, 0
        for images_NCHW, labels_N in examples.batches():
            check_stop()
            loss, hits = network.run(images_NCHW, labels_N)
            loss_sum, num_hits = loss_sum + loss, num_hits + hits
        accuracy = num_hits / len(examples) if self.recognises else None
        return loss_sum / len(examples), accuracy
