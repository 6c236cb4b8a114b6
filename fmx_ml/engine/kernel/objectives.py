"""Objectives whose loss and gradients the kernel computes, in one pass over a batch.

Legend of shapes: B batch, C channels, H W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.kernel.network import Network


@dataclass(frozen=True)
class CompiledObjective:
    """What the network's own objective is, computed by the kernel.

    The gradients are there without autograd, which would take a fifth of a step for nothing.
    """

    best_on: Literal["val_loss", "train_loss"]
    recognises: bool

    def derive(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        network = cast("Network", model)
        if network.weights_P.grad is None:
            network.weights_P.grad = torch.empty_like(network.weights_P)
        loss_sum, num_hits = network.run(images_BCHW, labels_B, network.weights_P.grad)
        hits = torch.tensor(num_hits) if self.recognises else None
        return torch.tensor(loss_sum / len(labels_B)), hits

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
