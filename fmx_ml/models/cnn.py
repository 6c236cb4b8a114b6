"""The report's convolutional classifier (section 1.1; Appendices B to D).

Legend of shapes: N examples, C channels, H W pixels, F features, K classes.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from fmx_ml.models.dropout import Dropout
from fmx_ml.specs import CnnSpec

_POOL = 2  # pixels a side


class Cnn(nn.Module):
    """Convolutions conv1, conv2, … and dense layers fc1, fc2, …, relu after all but the last.

    Each convolution may be followed by a batch normalisation norm1, norm2, … before its relu, and
    dropout may come before each dense layer. It takes float32 pictures of -1 to 1,
    [N, 1, 28, 28], and gives logits, [N, K].
    """

    def __init__(self, spec: CnnSpec, num_classes: int) -> None:
        """The layers as torch makes them; `initialise` draws their weights from a generator."""
        super().__init__()
        self.spec = spec
        self.is_frozen = False
        self.pools = tuple(layer.pool for layer in spec.layers())
        self.convs = tuple(
            nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding
            )
            for layer in spec.layers()
        )
        self.norms = tuple(
            nn.BatchNorm2d(count) if spec.batch_norm else nn.Identity() for count in spec.filters
        )
        sizes = spec.dense_sizes(num_classes)
        self.denses = tuple(nn.Linear(*pair) for pair in pairwise(sizes))
        self.dropout = Dropout(spec.dropout)
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            self.add_module(f"conv{number}", conv)
            self.add_module(f"norm{number}", norm)
        for number, dense in enumerate(self.denses, start=1):
            self.add_module(f"fc{number}", dense)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits [N, K]."""
        return self.denses[-1](self.dropout(self.features(images_NCHW)))

    def features(self, images_NCHW: Tensor) -> Tensor:
        """What the last dense layer takes, before any dropout of it: [N, F].

        The relu follows the pooling: the same numbers with a quarter of it.
        """
        x = images_NCHW
        for conv, norm, pooled in zip(self.convs, self.norms, self.pools, strict=True):
            x = norm(conv(x))
            x = relu(_pool(x) if pooled else x)
        x = x.flatten(1)
        for dense in self.denses[:-1]:
            x = relu(dense(self.dropout(x)))
        return x

    def feature_maps(self, images_NCHW: Tensor) -> Iterator[Tensor]:
        """What leaves each convolution after its relu, before any pooling: [N, C, H, W]."""
        x = images_NCHW
        for conv, norm, pooled in zip(self.convs, self.norms, self.pools, strict=True):
            x = relu(norm(conv(x)))
            yield x
            x = _pool(x) if pooled else x

    def freeze(self) -> None:
        """Leaves only the last dense layer to learn; batch norms stay as they are in eval mode."""
        self.is_frozen = True
        self.requires_grad_(requires_grad=False)
        self.denses[-1].requires_grad_(requires_grad=True)

    def train(self, mode: bool = True) -> Self:
        """As of every module, but what is frozen stays in eval mode."""
        super().train(mode)
        if self.is_frozen:
            for norm in self.norms:
                norm.eval()
        return self


def _pool(x_NCHW: Tensor) -> Tensor:
    """2 x 2 max pooling; a last odd row or column is left out.

    Where no gradient is wanted, as two maxima: the same numbers. On a CPU torch's own pooling takes
    seven times as long for the few channels of a first layer.
    """
    if torch.is_grad_enabled():
        return max_pool2d(x_NCHW, _POOL)
    height, width = (size // _POOL * _POOL for size in x_NCHW.shape[2:])
    rows = torch.maximum(x_NCHW[:, :, 0:height:2], x_NCHW[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def initialise(model: Cnn, generator: torch.Generator) -> None:
    """Draws all weights as torch's own layers do: uniform in ±1 / sqrt(inputs of a unit).

    The order of drawing is that of the layers, each one's weights before its biases. Batch norms
    have nothing to draw.
    """
    for layer in (*model.convs, *model.denses):
        bound = layer.weight[0].numel() ** -0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        if layer.bias is not None:
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    for norm in model.norms:
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_parameters()
