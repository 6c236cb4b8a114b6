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

    def loss(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The mean loss of a batch, to be derived, and how many pictures were recognised.

        Both stay on the device; the second is None where nothing is recognised.
        """
        ...

    def measure(
        self, model: nn.Module, examples: Examples, check_stop: Callable[[], None]
    ) -> tuple[float, float | None]:
        """Mean loss a picture, and accuracy or None; the model is left in eval mode."""
        ...


@dataclass(frozen=True)
class Classification:
    """Cross-entropy in nats over all O outputs; only the first K of them are ever predicted."""

    num_classes: int
    best_on: Literal["val_loss"] = "val_loss"

    def loss(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        logits_BO = model(images_BCHW)
        hits_B = logits_BO[:, : self.num_classes].argmax(1) == labels_B
        return cross_entropy(logits_BO, labels_B), hits_B.sum()

    def measure(
        self, model: nn.Module, examples: Examples, check_stop: Callable[[], None]
    ) -> tuple[float, float | None]:
        return measure(model, examples, check_stop, self.num_classes)
