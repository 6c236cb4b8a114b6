"""From a model's probabilities to the body of an inference response.

Legend of shapes: N pictures, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from api.inference.schemas import OUTPUTS, InferRequest
from api.inference.tensors import BINARY_SIZE, CLASSIFICATION
from api.json_body import JSON_TYPE
from api.pointers import ErrorItem
from api.predict.sessions import PROBABILITIES
from api.problems import invalid
from fmx_ml.model_card import ModelCard

VERSION = "1"  # of every model: what is trained again is another model
HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Encoded:
    """A body, and the headers that say how to read it."""

    content: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])


def refuse_outputs(request: InferRequest) -> None:
    """Raises ProblemError where an output is asked for that no model has."""
    for number, output in enumerate(request.outputs):
        if output.name not in OUTPUTS:
            detail = f"the outputs are {' and '.join(OUTPUTS)}"
            raise invalid([ErrorItem(f"/outputs/{number}/name", "unknown_output", detail)])


def encode_answer(
    model_id: str, card: ModelCard, request: InferRequest, probabilities_NK: NDArray[np.float32]
) -> Encoded:
    """The answer to a request; outputs that are wanted as bytes follow the JSON."""
    told: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for wish in _wanted(request):
        tensor, values = _make_tensor(wish, card, probabilities_NK)
        if wish.is_binary:
            parts.append(_to_bytes(values))
            tensor["parameters"] = {BINARY_SIZE: len(parts[-1])}
        else:
            tensor["data"] = values if isinstance(values, list) else values.ravel().tolist()
        told.append(tensor)
    identity = {} if request.id is None else {"id": request.id}
    header = orjson.dumps(
        {"model_name": model_id, "model_version": VERSION, **identity, "outputs": told}
    )
    if not parts:
        return Encoded(header, {"Content-Type": JSON_TYPE})
    lengths = {HEADER_LENGTH: str(len(header)), "Content-Type": BINARY_TYPE}
    return Encoded(b"".join([header, *parts]), lengths)


@dataclass(frozen=True)
class _Wish:
    """An output to tell: as bytes or not, and as how many of the most probable classes, if so."""

    name: str
    is_binary: bool
    num_classes: int = 0


def _wanted(request: InferRequest) -> list[_Wish]:
    default = request.parameters.get("binary_data_output") is True
    if not request.outputs:
        return [_Wish(name, default) for name in OUTPUTS]
    return [
        _Wish(
            output.name,
            output.parameters.get("binary_data", default) is True,
            output.parameters.get(CLASSIFICATION) or 0,
        )
        for output in request.outputs
    ]


def _make_tensor(
    wish: _Wish, card: ModelCard, probabilities_NK: NDArray[np.float32]
) -> tuple[dict[str, Any], NDArray[np.float32] | list[str]]:
    if wish.num_classes:
        shape, texts = _rank(card, probabilities_NK, wish.num_classes)
        return {"name": wish.name, "datatype": "BYTES", "shape": shape}, texts
    if wish.name == PROBABILITIES:
        shape = list(probabilities_NK.shape)
        return {"name": wish.name, "datatype": "FP32", "shape": shape}, probabilities_NK
    labels = [card.class_names[best] for best in probabilities_NK.argmax(axis=1).tolist()]
    return {"name": wish.name, "datatype": "BYTES", "shape": [len(labels)]}, labels


def _rank(
    card: ModelCard, probabilities_NK: NDArray[np.float32], most: int
) -> tuple[list[int], list[str]]:
    """The most probable classes of each picture, as score:index:label; their shape and texts."""
    order_NK = (-probabilities_NK).argsort(axis=1, kind="stable")[:, :most]
    texts = [
        f"{row_K[index]:f}:{index}:{card.class_names[index]}"
        for row_K, best_K in zip(probabilities_NK, order_NK.tolist(), strict=True)
        for index in best_K
    ]
    return list(order_NK.shape), texts


def _to_bytes(values: NDArray[np.float32] | Sequence[str]) -> bytes:
    """Numbers little-endian; each text after its length in four bytes."""
    if isinstance(values, np.ndarray):
        return values.astype("<f4", copy=False).tobytes()
    texts = [text.encode() for text in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
