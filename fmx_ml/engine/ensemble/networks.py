"""Several networks of one architecture as one: every weight has a leading axis, one row a network.

Legend of shapes: M members, N examples, B batch, C channels, H W pixels, D numbers of a picture in
a row, F features, O outputs or filters, P patch (channels by kernel), L places of the kernel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, pad, relu

from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.models.cnn import Cnn
from fmx_ml.models.mlp import Mlp
from fmx_ml.specs import IMAGE_SIDE, CnnSpec

_POOL = 2  # pixels a side

StackedWeights = Mapping[str, Tensor]
Convolving = Literal["groups", "patches"]

CONVOLVING: dict[str, Convolving] = {"cpu": "groups", "cuda": "patches"}
"""How several networks convolve, by device: see `StackedCnn`."""


class StackedNetwork(Protocol):
    """What becomes of pictures in M networks at once; each sees pictures of its own."""

    def take(self, images_N: Tensor, rows_MB: Tensor) -> Tensor:
        """The pictures of some rows, other ones for each member, as the network wants them."""
        ...

    def share(self, images_N: Tensor, count: int) -> Tensor:
        """The same pictures for so many members, as the network wants them."""
        ...

    def __call__(self, weights: StackedWeights, inputs: Tensor) -> Tensor:
        """Logits [M, O, B] of classifiers, pictures [M, B, D] of autoencoders."""
        ...


@dataclass(frozen=True)
class StackedDense:
    """Dense layers with relu between them: perceptrons, autoencoders, last layers of any network.

    It takes [M, B, D]. `layers` names them as the network's weights do.
    """

    layers: Sequence[str]
    ends_in_sigmoid: bool = False
    is_classifier: bool = True

    def take(self, images_N: Tensor, rows_MB: Tensor) -> Tensor:
        """[M, B, D]."""
        return images_N.flatten(1).index_select(0, rows_MB.flatten()).view(*rows_MB.shape, -1)

    def share(self, images_N: Tensor, count: int) -> Tensor:
        """[M, N, D], in memory once."""
        return images_N.flatten(1).expand(count, -1, -1)

    def __call__(self, weights: StackedWeights, inputs: Tensor) -> Tensor:
        """Logits [M, O, B], or pictures [M, B, D]."""
        *hidden, last = self.layers
        x_MBD = _chain(weights, hidden, inputs)
        x = _classify(weights, last, x_MBD) if self.is_classifier else _apply(weights, last, x_MBD)
        return x.sigmoid() if self.ends_in_sigmoid else x


@dataclass(frozen=True)
class StackedCnn:
    """Convolutional classifiers without batch norm and dropout. It takes [B, M, H, W].

    `patches` makes matrix products of the convolutions, which a GPU may do faster than convolutions
    in groups.
    """

    spec: CnnSpec
    patches: bool = False

    def take(self, images_N: Tensor, rows_MB: Tensor) -> Tensor:
        """[B, M, H, W]."""
        rows_BM = rows_MB.t()
        pixels = images_N.flatten(1).index_select(0, rows_BM.flatten())
        return pixels.view(*rows_BM.shape, IMAGE_SIDE, IMAGE_SIDE)

    def share(self, images_N: Tensor, count: int) -> Tensor:
        """[N, M, H, W], in memory once."""
        return images_N.expand(-1, count, -1, -1)

    def __call__(self, weights: StackedWeights, inputs: Tensor) -> Tensor:
        """Logits [M, K, B]."""
        count = inputs.shape[1]
        convolve = _convolve_patches if self.patches and count > 1 else _convolve_groups
        x = inputs
        for number, layer in enumerate(self.spec.layers(), start=1):
            name = f"conv{number}"
            x = convolve(x, weights[f"{name}.weight"], weights[f"{name}.bias"], layer.padding)
            x = relu(max_pool2d(x, _POOL) if layer.pool else x)
        features_MBF = x.reshape(len(x), count, -1).transpose(0, 1)
        *hidden, last = _names("fc", self.spec.dense_layers)
        return _classify(weights, last, _chain(weights, hidden, features_MBF))


def _chain(weights: StackedWeights, layers: Sequence[str], x_MBD: Tensor) -> Tensor:
    for name in layers:
        x_MBD = relu(_apply(weights, name, x_MBD))
    return x_MBD


def _apply(weights: StackedWeights, layer: str, x_MBD: Tensor) -> Tensor:
    """A dense layer: [M, B, O]."""
    bias_MO, weight_MOD = weights[f"{layer}.bias"], weights[f"{layer}.weight"]
    return _multiply(bias_MO.unsqueeze(1), x_MBD, weight_MOD.transpose(1, 2))


def _classify(weights: StackedWeights, layer: str, x_MBD: Tensor) -> Tensor:
    """The same with its few outputs in rows, [M, O, B], where a softmax takes a seventh as long."""
    bias_MO, weight_MOD = weights[f"{layer}.bias"], weights[f"{layer}.weight"]
    return _multiply(bias_MO.unsqueeze(2), weight_MOD, x_MBD.transpose(1, 2))


def _multiply(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Adds to each member's bias the product of its matrices.

    On a CPU threads share out the members; where there are fewer than threads, they share out one
    member's sums, which then have other last bits. So the last is taken several times there: what a
    member comes to does not depend on its company.
    """
    count, num_threads = len(left), torch.get_num_threads()
    if left.device.type != "cpu" or count >= num_threads:
        return torch.baddbmm(bias, left, right)
    rows = torch.arange(num_threads).clamp(max=count - 1)
    padded = (each.index_select(0, rows) for each in (bias, left, right))
    return torch.baddbmm(*padded)[:count]


def _convolve_groups(x: Tensor, weight: Tensor, bias_MO: Tensor, padding: int) -> Tensor:
    """[B, M * C, H, W] to [B, M * O, H, W]: each member's filters over its own channels."""
    count = len(bias_MO)
    return conv2d(x, weight.flatten(0, 1), bias_MO.flatten(), padding=padding, groups=count)


def _convolve_patches(x: Tensor, weight: Tensor, bias_MO: Tensor, padding: int) -> Tensor:
    """The same by matrix products: filters [M, O, P] by what lies below them, [B, M, P, L]."""
    count, side = len(bias_MO), weight.shape[-1]
    padded = pad(x, [padding] * 4) if padding else x
    patches = padded.unfold(2, side, 1).unfold(3, side, 1)  # [B, M * C, H, W, side, side]
    size, _, height, width = patches.shape[:4]
    patches = patches.permute(0, 1, 4, 5, 2, 3).reshape(size, count, -1, height * width)
    y_BMOL = torch.matmul(weight.flatten(2), patches) + bias_MO.unsqueeze(2)
    return y_BMOL.view(size, -1, height, width)


def stack_network(model: nn.Module, device: torch.device) -> StackedNetwork:
    """The network of several models like this one; of frozen ones, their last layers."""
    match model:
        case Mlp():
            return StackedDense(_names("fc", len(model.denses)), model.ends_in_sigmoid)
        case Autoencoder():
            depth = len(model.encoders)
            layers = [*_names("encoder", depth), *_names("decoder", depth)]
            return StackedDense(layers, ends_in_sigmoid=True, is_classifier=False)
        case Cnn() if model.is_frozen:
            return StackedDense(_names("fc", len(model.denses))[-1:])
        case Cnn():
            return StackedCnn(model.spec, patches=CONVOLVING[device.type] == "patches")
        case _:
            raise TypeError(f"{type(model).__name__} can't be stacked")


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}{number}" for number in range(1, count + 1)]
