"""Which pictures train and which validate or test: drawn class by class, the same part of each.

Legend of shapes: N examples.
"""

import numpy as np
from numpy.typing import NDArray

from fmx_ml.engine.seeding import derive_seed

Indices = NDArray[np.int64]


def split_stratified(
    labels_N: NDArray[np.int64], part: int, seed: int, purpose: str = "split"
) -> tuple[Indices, Indices]:
    """Row numbers of the pictures to learn from and of those held out, each in rising order.

    Of every class present one picture in `part` is held out, rounded down. Which ones depends on
    the seed, the purpose and the class's number only, not on what other classes there are.
    """
    kept, held_out = [], []
    for label in np.unique(labels_N):
        order = _shuffled_rows(labels_N, int(label), derive_seed(seed, purpose, int(label)))
        count = len(order) // part
        held_out.append(order[:count])
        kept.append(order[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def take_fraction(labels_N: NDArray[np.int64], percent: int, seed: int) -> Indices:
    """Row numbers, in rising order, of a stratified part of the pictures.

    Each class gives `percent` of a hundred of its pictures, rounded down, but one at least. Parts
    of one seed are nested: 5 percent lie inside 10 percent.

    Raises:
        ValueError: percent is not in 1 to 100.
    """
    if not 1 <= percent <= 100:  # noqa: PLR2004 - percent
        msg = f"{percent} is not in 1 to 100 percent"
        raise ValueError(msg)
    parts: list[Indices] = []
    for label in np.unique(labels_N):
        order = _shuffled_rows(labels_N, int(label), derive_seed(seed, "fraction", int(label)))
        parts.append(order[: max(1, len(order) * percent // 100)])
    return np.sort(np.concatenate(parts))


def _shuffled_rows(labels_N: NDArray[np.int64], label: int, seed: int) -> Indices:
    rows = np.flatnonzero(labels_N == label)
    return np.random.default_rng(seed).permutation(rows)
