"""Which pictures train and which validate: drawn class by class, so that each has as many.

Legend of shapes: N examples.
"""

import numpy as np
from numpy.typing import NDArray

from fmx_ml.engine.seeding import derive_seed

Indices = NDArray[np.int64]


def split_stratified(
    labels_N: NDArray[np.int64], num_val_per_class: int, seed: int
) -> tuple[Indices, Indices]:
    """Row numbers of the training and of the validation pictures, each in rising order.

    Every class present gives num_val_per_class pictures for validation. Which ones depends on the
    seed and on the class's number only, not on what other classes there are.
    """
    train, val = [], []
    for label in np.unique(labels_N):
        order = _shuffled_rows(labels_N, int(label), derive_seed(seed, "split", int(label)))
        val.append(order[:num_val_per_class])
        train.append(order[num_val_per_class:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(val))


def take_fraction(labels_N: NDArray[np.int64], percent: int, seed: int) -> Indices:
    """Row numbers, in rising order, of a stratified part of the pictures.

    Each class gives `percent` of a hundred of its pictures, rounded down. Parts of one seed are
    nested: 5 percent lie inside 10 percent.

    Raises:
        ValueError: percent is not in 1 to 100.
    """
    if not 1 <= percent <= 100:  # noqa: PLR2004 - percent
        msg = f"{percent} is not in 1 to 100 percent"
        raise ValueError(msg)
    parts: list[Indices] = []
    for label in np.unique(labels_N):
        order = _shuffled_rows(labels_N, int(label), derive_seed(seed, "fraction", int(label)))
        parts.append(order[: len(order) * percent // 100])
    return np.sort(np.concatenate(parts))


def _shuffled_rows(labels_N: NDArray[np.int64], label: int, seed: int) -> Indices:
    rows = np.flatnonzero(labels_N == label)
    return np.random.default_rng(seed).permutation(rows)
