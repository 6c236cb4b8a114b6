"""The report's convolutional classifier (section 1.1; Appendices B to D).

Legend of shapes: N examples, C channels, H W pixels, K classes.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from fmx_ml.specs import CnnSpec

_POOL = 2  # pixels a side


class Cnn(nn.Module):
    """Convolutions conv1, conv2, … and dense layers fc1, fc2, …, relu after all but the last.

    It takes float32 pictures of -1 to 1, [N, 1, 28, 28], and gives logits, [N, K].
    """

    def __init__(self, spec: CnnSpec, num_classes: int) -> None:
        """The layers as torch makes them; `initialise` draws their weights from a generator."""
        super().__init__()
        self.pools = tuple(layer.pool for layer in spec.layers())
        self.convs = tuple(
            nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding
            )
            for layer in spec.layers()
        )
        sizes = spec.dense_sizes(num_classes)
        self.denses = tuple(nn.Linear(*pair) for pair in pairwise(sizes))
        for number, conv in enumerate(self.convs, start=1):
            self.add_module(f"conv{number}", conv)
        for number, dense in enumerate(self.denses, start=1):
            self.add_module(f"fc{number}", dense)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits [N, K]. The relu follows the pooling: the same numbers with a quarter of it."""
        x = images_NCHW
        for conv, pooled in zip(self.convs, self.pools, strict=True):
            x = conv(x)
            x = relu(max_pool2d(x, _POOL) if pooled else x)
        return self._classify(x)

    def feature_maps(self, images_NCHW: Tensor) -> Iterator[Tensor]:
        """What leaves each convolution after its relu, before any pooling: [N, C, H, W]."""
        x = images_NCHW
        for conv, pooled in zip(self.convs, self.pools, strict=True):
            x = relu(conv(x))
            yield x
            x = max_pool2d(x, _POOL) if pooled else x

    def _classify(self, maps_NCHW: Tensor) -> Tensor:
        x = maps_NCHW.flatten(1)
        for dense in self.denses[:-1]:
            x = relu(dense(x))
        return self.denses[-1](x)


def initialise(model: Cnn, generator: torch.Generator) -> None:
    """Draws all weights as torch's own layers do: uniform in ±1 / sqrt(inputs of a unit).

    The order of drawing is that of the layers, each one's weights before its biases.
    """
    for layer in (*model.convs, *model.denses):
        bound = layer.weight[0].numel() ** -0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        if layer.bias is not None:
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
