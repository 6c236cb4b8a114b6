"""The report's networks, layer by layer as its appendices chain them: relu before the pooling."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from benchmarks.flops import NetworkSpec
from fmx_ml.specs import AutoencoderSpec, CnnSpec, MlpSpec


def make_network(spec: NetworkSpec) -> nn.Sequential:
    """The spec's network with weights as torch draws them, in the order of `fmx_ml.models`."""
    match spec:
        case CnnSpec():
            return nn.Sequential(*_convolutions(spec), nn.Flatten(), *_dense(spec.dense_sizes()))
        case MlpSpec():
            end = [nn.Sigmoid()] if spec.output == "sigmoid" else []
            return nn.Sequential(*_dense(spec.sizes), *end)
        case AutoencoderSpec():
            encoder, decoder = _dense(spec.sizes), _dense(spec.sizes[::-1])
            return nn.Sequential(*encoder, nn.ReLU(inplace=True), *decoder, nn.Sigmoid())


def _convolutions(spec: CnnSpec) -> list[nn.Module]:
    """Appendices C and D."""
    layers: list[nn.Module] = []
    for layer in spec.layers():
        size, padding = layer.kernel_size, layer.padding
        layers += [
            nn.Conv2d(layer.in_channels, layer.out_channels, size, padding=padding),
            nn.ReLU(),
        ]
        if layer.pool:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return layers


def _dense(sizes: Sequence[int]) -> list[nn.Module]:
    """Dense layers with a relu between each two."""
    layers: list[nn.Module] = []
    for pair in pairwise(sizes):
        layers += [nn.Linear(*pair), nn.ReLU(inplace=True)]
    return layers[:-1]
