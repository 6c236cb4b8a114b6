"""Which trainings of a job may train together on one device (pydantic only).

A pack shares one process, one copy of the data and, where that is faster, one stack of weights.
Each of its trainings gives what it would give alone, up to rounding.
"""

from typing import Any, Literal

from fmx_ml.specs import Augmentation
from fmx_ml.trainings import (
    AutoencoderTraining,
    CnnTraining,
    MlpTraining,
    Training,
    TrialTraining,
    digest,
)

Hardware = Literal["cpu", "cuda"]

MAX_FEATURES = 4_096
"""Of a picture, of a frozen network that computes them once: 25,000 pictures take 0.4 GB."""

_HEADS_AT_MOST = 64
# Pictures of a step, counted once a member: what a GPU of 16 GB has room for.
_CNN_PICTURES, _DENSE_PICTURES = 8_192, 131_072
_MEMBERS_AT_MOST = 128


def pack_key(training: Training) -> str | None:
    """Trainings with equal keys may train together; None is for one that trains alone.

    They share network, pictures and batch size. Seeds, optimisers, rates, schedules, shares of the
    pictures, first weights and endings may differ. What is done by chance at each step (dropout,
    augmentation) or to a whole batch (batch norm) is done alone, and so are a search's trials,
    which may be given up.
    """
    match training:
        case TrialTraining():
            return None
        case AutoencoderTraining():
            return _key(training)
        case MlpTraining():
            return _key(training, half=training.half)
        case CnnTraining():
            return _key_of_cnn(training)


def _key_of_cnn(training: CnnTraining) -> str | None:
    if training.augmentation != Augmentation() or training.model.dropout > 0:
        return None
    if not is_frozen(training) or training.transfer is None:
        return None if training.model.batch_norm else _key(training, half=training.half)
    if training.model.dense_sizes()[-2] > MAX_FEATURES:
        return None
    return _key(training, half=training.half, source=training.transfer.source)


def _key(training: CnnTraining | MlpTraining | AutoencoderTraining, **more: Any) -> str:
    """The hash of what must be equal; `more` is what only some kinds have."""
    shared = training.model_dump(
        mode="json",
        include={"task", "dataset", "split_seed", "model", "batch_size", "normalise"},
    )
    return digest(shared | more)


def is_frozen(training: Training) -> bool:
    """Whether only the last layer of a finished run's network learns."""
    return (
        isinstance(training, CnnTraining)
        and training.transfer is not None
        and training.transfer.trained == "last_layer"
    )


def pack_limit(training: Training, hardware: Hardware) -> int:
    """How many trainings of this one's key should train together at most; 1 is alone.

    On the CPU only last layers gain: the features of a picture are computed once for all of them.
    """
    if isinstance(training, TrialTraining) or pack_key(training) is None:
        return 1
    if is_frozen(training):
        return _HEADS_AT_MOST
    if hardware == "cpu":
        return 1
    pictures = _CNN_PICTURES if isinstance(training, CnnTraining) else _DENSE_PICTURES
    return min(_MEMBERS_AT_MOST, max(1, pictures // training.batch_size))
