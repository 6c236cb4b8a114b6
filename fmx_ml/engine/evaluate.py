"""What a classifier makes of pictures: loss, accuracy, predictions, confusion.

Legend of shapes: N examples, C channels, H W pixels, K classes, O outputs of a network.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmx_ml.data.sources import Pictures
from fmx_ml.model_card import InputCard

BATCH_SIZE = 1_000  # measured: larger batches leave the CPU's cache and are slower


@dataclass(frozen=True)
class Examples:
    """Pictures on a device: normalised, float32 [N, 1, 28, 28], and int64 labels [N].

    What a frozen network makes of pictures may stand in their place (`fmx_ml.engine.features`).
    """

    images_NCHW: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def device(self) -> torch.device:
        """Where the pictures lie."""
        return self.labels_N.device

    def take(self, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures and labels of some rows, for one step of training."""
        return self.images_NCHW.index_select(0, rows_B), self.labels_N.index_select(0, rows_B)

    def batches(self, size: int = BATCH_SIZE) -> Iterator[tuple[Tensor, Tensor]]:
        """All of them in order; the last batch may be smaller."""
        return zip(self.images_NCHW.split(size), self.labels_N.split(size), strict=True)


def to_device(pictures: Pictures, device: torch.device, card: InputCard | None = None) -> Examples:
    """The pictures as one tensor on the device, normalised there as the card says.

    Without a card it is the report's: to -1 to 1.
    """
    card = card or InputCard()
    images_NHW = torch.from_numpy(pictures.images_NHW).to(device)
    return Examples(
        images_NCHW=(images_NHW.unsqueeze(1).float() / card.scale - card.mean) / card.std,
        labels_N=torch.from_numpy(pictures.labels_N).to(device),
    )


def measure(
    model: nn.Module,
    examples: Examples,
    check_stop: Callable[[], None],
    num_classes: int | None = None,
) -> tuple[float, float]:
    """Mean cross-entropy a picture, in nats, and accuracy; the model is left in eval mode.

    Of a network with more outputs than classes only the first `num_classes` are predicted.
    """
    model.eval()
    loss_sum = torch.zeros((), dtype=torch.float64, device=examples.device)
    num_correct = torch.zeros((), dtype=torch.int64, device=examples.device)
    with torch.inference_mode():
        for images_NCHW, labels_N in examples.batches():
            check_stop()
            logits_NO = model(images_NCHW)
            loss_sum += cross_entropy(logits_NO, labels_N, reduction="sum")
            num_correct += (logits_NO[:, :num_classes].argmax(1) == labels_N).sum()
    return loss_sum.item() / len(examples), num_correct.item() / len(examples)


def judge(
    model: nn.Module, examples: Examples, check_stop: Callable[[], None], num_classes: int
) -> tuple[float, float, NDArray[np.float32]]:
    """What `measure` and `predict` give, in one pass; the model is left in eval mode."""
    model.eval()
    loss_sum = torch.zeros((), dtype=torch.float64, device=examples.device)
    num_correct = torch.zeros((), dtype=torch.int64, device=examples.device)
    parts: list[Tensor] = []
    with torch.inference_mode():
        for images_NCHW, labels_N in examples.batches():
            check_stop()
            logits_NO = model(images_NCHW)
            loss_sum += cross_entropy(logits_NO, labels_N, reduction="sum")
            num_correct += (logits_NO[:, :num_classes].argmax(1) == labels_N).sum()
            parts.append(logits_NO[:, :num_classes].softmax(1))
    count = len(examples)
    return loss_sum.item() / count, num_correct.item() / count, torch.cat(parts).cpu().numpy()


def predict(
    model: nn.Module, examples: Examples, num_classes: int | None = None
) -> NDArray[np.float32]:
    """The probabilities [N, K] of the first num_classes outputs; of all of them without it.

    The model is left in eval mode.
    """
    model.eval()
    with torch.inference_mode():
        parts = [
            model(images_NCHW)[:, :num_classes].softmax(1) for images_NCHW, _ in examples.batches()
        ]
    return torch.cat(parts).cpu().numpy()


def count_confusion(
    labels_N: NDArray[np.int64], predictions_N: NDArray[np.int64], num_classes: int
) -> list[list[int]]:
    """How often each class (row) was taken for each (column), [K, K]."""
    cells = np.bincount(labels_N * num_classes + predictions_N, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).tolist()


def score_classes(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class; None where there is nothing to divide."""
    scores: list[dict[str, Any]] = []
    for label, name in enumerate(names):
        hits = confusion[label][label]
        support = sum(confusion[label])
        predicted = sum(row[label] for row in confusion)
        scores.append(
            {
                "class": name,
                "label": label,
                "precision": hits / predicted if predicted else None,
                "recall": hits / support if support else None,
                "f1": 2 * hits / (support + predicted) if support + predicted else None,
                "support": support,
            }
        )
    return scores
