"""Dense layers: what autoencoders and multi-layer perceptrons are chained of."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


def chain(sizes: Sequence[int]) -> tuple[nn.Linear, ...]:
    """A layer between each two widths, as torch makes it."""
    return tuple(nn.Linear(*pair) for pair in pairwise(sizes))


def initialise_dense(layers: Sequence[nn.Linear], generator: torch.Generator) -> None:
    """Draws all weights as torch's own layers do: uniform in ±1 / sqrt(inputs).

    The order of drawing is that of the layers, each one's weights before its biases.
    """
    for layer in layers:
        bound = layer.in_features**-0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
