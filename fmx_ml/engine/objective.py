"""What a training minimises, and what is counted beside it.

Legend of shapes: N examples, B batch, C channels, H W pixels, K classes, O outputs, O >= K.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmx_ml.engine.evaluate import Examples, measure


class Objective(Protocol):
    """The loss of a training. `fit` asks for nothing else, so any network can share it."""

    @property
    def best_on(self) -> Literal["val_loss", "train_loss"]:
        """The loss that is lowest at the best epoch."""
        ...

    def derive(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The mean loss of a batch, and how many pictures were recognised.

        Its gradients are left in the weights, in place of any others. Both results stay on the
        device; the second is None where nothing is recognised.
        """
        ...

    def measure(
        self, model: nn.Module, examples: Examples, check_stop: Callable[[], None]
    ) -> tuple[float, float | None]:
        """Mean loss a picture, and accuracy or None; the model is left in eval mode."""
        ...


def leave_gradients(model: nn.Module, loss: Tensor) -> Tensor:
    """Leaves the gradients of a loss in the weights, in place of any others; the loss alone."""
    model.zero_grad()
    loss.backward()
    return loss.detach()


@dataclass(frozen=True)
class Classification:
    """Cross-entropy in nats over all O outputs; only the first K of them are ever predicted."""

    num_classes: int
    best_on: Literal["val_loss"] = "val_loss"

    def derive(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        loss, num_hits = self.loss(model, images_BCHW, labels_B)
        return leave_gradients(model, loss), num_hits

    def loss(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The mean of a batch, and how many pictures were recognised."""
        logits_BO = model(images_BCHW)
        hits_B = logits_BO[:, : self.num_classes].argmax(1) == labels_B
        return cross_entropy(logits_BO, labels_B), hits_B.sum()

    def measure(
        self, model: nn.Module, examples: Examples, check_stop: Callable[[], None]
    ) -> tuple[float, float | None]:
        return measure(model, examples, check_stop, self.num_classes)
