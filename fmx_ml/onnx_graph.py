"""The ONNX graph of a classifier, written node by node.

The graph is small and fixed, so it is built directly: at once, the same bytes for the same weights
under every release of torch, and with no tracing. `fmx_ml.export` compares it with torch before it
is published.

Legend of shapes: N examples, C channels, H W pixels, K classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fmx_ml.model_card import CnnCard, MlpCard, ModelCard

_OPSET = 18  # operators as of ONNX 1.13; every onnxruntime since 1.14 runs them
_IR_VERSION = 8
_EPSILON = 1e-5  # added to a batch norm's variance, as by torch's default

Weights = Mapping[str, NDArray[np.float32]]


class _Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        """Adds a node named as its output; gives back that name."""
        node = helper.make_node(operator, list(inputs), [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, values: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, dtype=np.float32))


def make_onnx(card: CnnCard | MlpCard, weights: Weights) -> onnx.ModelProto:
    """The checked graph from raw pixels to logits, probabilities and feature maps.

    What a perceptron has beyond its classes is left out, so the probabilities are theirs alone.
    """
    graph = _Graph()
    x = _add_normalisation(graph, card)
    match card:
        case CnnCard():
            x = _add_cnn(graph, card, weights, x)
        case MlpCard():
            x = _add_mlp(graph, card, weights, x)
    graph.add("Softmax", x, output="probabilities", axis=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            card.family,
            [_describe(card.input.name, card.input.shape)],
            [_describe(output.name, output.shape) for output in card.outputs],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fmx",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _add_normalisation(graph: _Graph, card: ModelCard) -> str:
    scale = graph.scalar("scale", card.input.scale)
    mean, std = graph.scalar("mean", card.input.mean), graph.scalar("std", card.input.std)
    x = graph.add("Div", card.input.name, scale, output="scaled")
    x = graph.add("Sub", x, mean, output="centred")
    return graph.add("Div", x, std, output="normalised")


def _add_cnn(graph: _Graph, card: CnnCard, weights: Weights, x: str) -> str:
    for number in range(1, card.architecture.conv_layers + 1):
        x = _add_convolution(graph, card, weights, number, x)
    x = graph.add("Flatten", x, output="features", axis=1)
    for number in range(1, card.architecture.dense_layers):
        x = graph.add("Relu", _add_dense(graph, weights, number, x), output=f"fc{number}")
    return _add_dense(graph, weights, card.architecture.dense_layers, x, output="logits")


def _add_mlp(graph: _Graph, card: MlpCard, weights: Weights, x: str) -> str:
    last, rows = len(card.architecture.structure), slice(card.num_classes)
    x = graph.add("Flatten", x, output="features", axis=1)
    for number in range(1, last):
        x = graph.add("Relu", _add_dense(graph, weights, number, x), output=f"fc{number}")
    if card.architecture.output == "logits":
        return _add_dense(graph, weights, last, x, output="logits", rows=rows)
    return graph.add("Sigmoid", _add_dense(graph, weights, last, x, rows=rows), output="logits")


def _add_convolution(graph: _Graph, card: CnnCard, weights: Weights, number: int, x: str) -> str:
    layer, name = card.architecture.layers()[number - 1], f"conv{number}"
    weight = graph.constant(f"{name}.weight", weights[f"{name}.weight"])
    bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    x = graph.add(
        "Conv",
        *(x, weight, bias),
        output=f"{name}.sum",
        kernel_shape=[layer.kernel_size] * 2,
        pads=[layer.padding] * 4,
    )
    if card.architecture.batch_norm:
        x = _add_norm(graph, weights, f"norm{number}", x)
    x = graph.add("Relu", x, output=name)
    if not layer.pool:
        return x
    return graph.add("MaxPool", x, output=f"pool{number}", kernel_shape=[2, 2], strides=[2, 2])


def _add_norm(graph: _Graph, weights: Weights, name: str, x: str) -> str:
    """A batch normalisation; onnxruntime folds it into the convolution before it."""
    parts = ("weight", "bias", "running_mean", "running_var")
    constants = [graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in parts]
    return graph.add("BatchNormalization", x, *constants, output=name, epsilon=_EPSILON)


def _add_dense(
    graph: _Graph,
    weights: Weights,
    number: int,
    x: str,
    *,
    output: str | None = None,
    rows: slice = slice(None),
) -> str:
    """A dense layer, or the outputs of it that are asked for."""
    name = f"fc{number}"
    weight = graph.constant(f"{name}.weight", weights[f"{name}.weight"][rows])
    bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"][rows])
    return graph.add("Gemm", x, weight, bias, output=output or f"{name}.sum", transB=1)


def _describe(name: str, shape: tuple[str | int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
