"""Arithmetic of the networks: multiply-adds of their products, each counted as two.

Biases, relus, poolings and optimisers are left out: they are under a hundredth of it.
"""

from itertools import pairwise
from typing import NamedTuple

from fmx_ml.specs import IMAGE_SIDE, AutoencoderSpec, CnnSpec, MlpSpec

NetworkSpec = CnnSpec | MlpSpec | AutoencoderSpec


class Flops(NamedTuple):
    """Of one picture: a look at it, and a step of training on it."""

    forward: int
    step: int


def count(spec: NetworkSpec) -> Flops:
    """A step is forward, the weights' gradient and, but for the first layer, the inputs' one."""
    products = count_products(spec)
    forward = 2 * sum(products)
    return Flops(forward, 3 * forward - 2 * products[0])


def count_last_layer(spec: NetworkSpec) -> Flops:
    """The same of the last layer alone, on what the frozen rest makes of a picture."""
    forward = 2 * count_products(spec)[-1]
    return Flops(forward, 2 * forward)


def count_products(spec: NetworkSpec) -> list[int]:
    """Multiply-adds of each layer for one picture, from input to output."""
    match spec:
        case CnnSpec():
            return [*_convolutions(spec), *_chain(spec.dense_sizes())]
        case MlpSpec():
            return _chain(spec.sizes)
        case AutoencoderSpec():
            return [*_chain(spec.sizes), *_chain(spec.sizes[::-1])]


def _convolutions(spec: CnnSpec) -> list[int]:
    side, products = IMAGE_SIDE, list[int]()
    for layer in spec.layers():
        side = side + 2 * layer.padding - layer.kernel_size + 1
        products.append(layer.in_channels * layer.kernel_size**2 * layer.out_channels * side**2)
        side = side // 2 if layer.pool else side
    return products


def _chain(sizes: tuple[int, ...]) -> list[int]:
    return [a * b for a, b in pairwise(sizes)]
