"""What several runs minimise, counted for each of them.

Legend of shapes: M members, B batch, O outputs, of which K are classes, D pixels of a picture.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from torch.nn.functional import cross_entropy

from fmx_ml.engine.objective import Classification, Objective
from fmx_ml.engine.reconstruction import Reconstruction

NO_PICTURE = -100  # the label of a place of a batch that holds none; torch's `ignore_index`


class StackedObjective(Protocol):
    """The losses of M runs, one row of outputs each."""

    @property
    def best_on(self) -> Literal["val_loss", "train_loss"]:
        """The loss that is lowest at the best epoch."""
        ...

    @property
    def counts_hits(self) -> bool:
        """Whether pictures are recognised at all."""
        ...

    def count(
        self, outputs: Tensor, inputs: Tensor, labels_MB: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Each member's sum of losses over the pictures, and how many were recognised, [M]."""
        ...


@dataclass(frozen=True)
class StackedClassification:
    """Cross-entropy over all outputs; only the first K of them are ever predicted."""

    num_classes: int
    best_on: Literal["val_loss"] = "val_loss"
    counts_hits: bool = True

    def count(
        self, outputs: Tensor, inputs: Tensor, labels_MB: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Of logits [M, O, B]."""
        del inputs
        losses_MB = cross_entropy(outputs, labels_MB, reduction="none", ignore_index=NO_PICTURE)
        # `argmax` gives the same, in 20 times the time over an axis that is not the last.
        hits_MB = outputs[:, : self.num_classes].max(1).indices == labels_MB
        return losses_MB.sum(1), hits_MB.sum(1)


@dataclass(frozen=True)
class StackedReconstruction:
    """The mean squared error a pixel; the labels say only where there are pictures."""

    best_on: Literal["train_loss"] = "train_loss"
    counts_hits: bool = False

    def count(
        self, outputs: Tensor, inputs: Tensor, labels_MB: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Of pictures [M, B, D], as the inputs are."""
        errors_MB = (outputs - inputs).square().mean(2)
        return (errors_MB * (labels_MB != NO_PICTURE)).sum(1), None


def stack_objective(objective: Objective) -> StackedObjective:
    """The objective of several runs that each have this one."""
    match objective:
        case Classification():
            return StackedClassification(objective.num_classes)
        case Reconstruction():
            return StackedReconstruction()
        case _:
            raise TypeError(f"{type(objective).__name__} can't be stacked")
