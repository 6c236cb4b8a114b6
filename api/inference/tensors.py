"""From the body of an inference request to pictures.

Legend of shapes: N pictures, H W pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from api.inference.schemas import DATATYPES, SHAPES, InferRequest, InputTensor
from api.json_body import parse_json
from api.pointers import ErrorItem, describe_invalid, join_pointer
from api.predict.intake import most_values
from api.predict.sessions import INPUT, PROBABILITIES, Images
from api.problems import ProblemError, invalid, refuse
from fmx_ml.specs import IMAGE_SIDE

BINARY_SIZE = "binary_data_size"
CLASSIFICATION = "classification"
DTYPES: dict[str, np.dtype[Any]] = dict(
    zip(DATATYPES, (np.dtype("<f4"), np.dtype("u1")), strict=True)
)

_SIDE = IMAGE_SIDE
_PLACE = "/inputs/0"
_UNSUPPORTED = ("shared_memory_region",)  # extensions that are not served


@dataclass(frozen=True)
class Parsed:
    """A request that can be answered."""

    request: InferRequest
    images_NHW: Images


def parse_infer(body: bytes, header_bytes: int | None, max_depth: int, max_pictures: int) -> Parsed:
    """The pictures, and what is asked of them.

    `header_bytes` is how much of the body is JSON, None for all. Raises ProblemError: 400, 422.
    """
    if header_bytes is not None and header_bytes > len(body):
        raise bad_length(f"the body has {len(body)} bytes, fewer than its JSON should")
    header = body[:header_bytes]
    value = parse_json(header, max_depth, most_values(max_pictures))
    try:
        request = InferRequest.model_validate(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error
    tensor = _require_images(request)
    _refuse_parameters(request)
    _refuse_classifications(request)
    shape_NHW = _shape(tensor, max_pictures)
    if BINARY_SIZE in tensor.parameters:
        flat = _read_bytes(tensor, memoryview(body)[len(header) :], shape_NHW)
    elif len(body) > len(header):
        raise bad_length("bytes follow the JSON, and no input says that they are its own")
    else:
        flat = _read_data(tensor, shape_NHW)
    return Parsed(request, _refuse_range(flat).reshape(shape_NHW))


def bad_length(detail: str) -> ProblemError:
    """The error of a body whose parts are not as long as they are said to be."""
    return refuse(400, "bad_length", detail)


def _refused(place: str, code: str, detail: str) -> ProblemError:
    return invalid([ErrorItem(place, code, detail)])


def _require_images(request: InferRequest) -> InputTensor:
    for number, tensor in enumerate(request.inputs):
        if tensor.name != INPUT:
            place = f"/inputs/{number}/name"
            raise _refused(place, "unknown_input", f"the model's input is {INPUT!r}")
    if len(request.inputs) != 1:
        raise _refused("/inputs", "one_input", "the model has one input")
    return request.inputs[0]


def _refuse_parameters(request: InferRequest) -> None:
    named = [("inputs", request.inputs), ("outputs", request.outputs)]
    for member, tensors in named:
        for number, tensor in enumerate(tensors):
            for name in _UNSUPPORTED:
                if tensor.parameters.get(name):
                    place = join_pointer([member, number, "parameters", name])
                    raise _refused(place, "unsupported", "this extension is not served")


def _refuse_classifications(request: InferRequest) -> None:
    """Raises ProblemError where the most probable classes are asked of what has no classes."""
    for number, output in enumerate(request.outputs):
        asked = output.parameters.get(CLASSIFICATION)
        if asked and not (output.name == PROBABILITIES and type(asked) is int and asked > 0):
            place = join_pointer(["outputs", number, "parameters", CLASSIFICATION])
            detail = f"a number of classes, of the output {PROBABILITIES!r}"
            raise _refused(place, "bad_classification", detail)


def _shape(tensor: InputTensor, max_pictures: int) -> tuple[int, int, int]:
    """The pictures' shape, which the client may give in three ways. Raises ProblemError."""
    if tensor.datatype not in DTYPES:
        detail = f"the datatype is none of {', '.join(DTYPES)}"
        raise _refused(f"{_PLACE}/datatype", "unknown_datatype", detail)
    num_pictures, *rest = tensor.shape or [0]
    if rest not in SHAPES or num_pictures < 1:
        detail = "the shape is none of [N, 1, 28, 28], [N, 28, 28], [N, 784] with N from 1"
        raise _refused(f"{_PLACE}/shape", "bad_shape", detail)
    if num_pictures > max_pictures:
        detail = f"{num_pictures} pictures are more than {max_pictures}"
        raise _refused(f"{_PLACE}/shape", "too_long", detail)
    return num_pictures, _SIDE, _SIDE


def _read_bytes(tensor: InputTensor, found: memoryview, shape: tuple[int, ...]) -> Images:
    """The pixels in the bytes after the JSON, without a copy."""
    dtype = DTYPES[tensor.datatype]
    size = math.prod(shape) * dtype.itemsize
    said = tensor.parameters[BINARY_SIZE]
    if tensor.data is not None:
        raise _refused(f"{_PLACE}/data", "one_of", f"give either data or {BINARY_SIZE}")
    if type(said) is not int or said != size:
        place = f"{_PLACE}/parameters/{BINARY_SIZE}"
        raise _refused(place, "bad_size", f"a tensor of this shape and datatype has {size} bytes")
    if len(found) != size:
        raise bad_length(f"{len(found)} bytes follow the JSON, not {size}")
    return np.frombuffer(found, dtype)


def _read_data(tensor: InputTensor, shape: tuple[int, ...]) -> Images:
    """The pixels in the JSON, which may be nested as the shape says, or flat."""
    data = tensor.data
    if data is None:
        raise _refused(f"{_PLACE}/data", "one_of", f"give either data or {BINARY_SIZE}")
    try:
        values = np.array(data)
    except ValueError as error:  # lists of unequal lengths
        raise _misfit(tensor, data, shape) from error
    if values.shape not in {(math.prod(shape),), tuple(tensor.shape)}:
        raise _misfit(tensor, data, shape)
    flat: Any = data
    for _ in range(values.ndim - 1):
        flat = chain.from_iterable(flat)
    if set(map(type, flat)) - _number_types(tensor):
        raise _misfit(tensor, data, shape)
    _refuse_range(values.reshape(-1))  # before it would wrap around
    return values.reshape(-1).astype(DTYPES[tensor.datatype])


def _number_types(tensor: InputTensor) -> set[type]:
    return {int} if tensor.datatype == "UINT8" else {int, float}


def _misfit(tensor: InputTensor, data: list[Any], shape: Sequence[int]) -> ProblemError:
    """The error of data that are no numbers, or not as many as the shape says."""
    place = _find_other(data, _number_types(tensor), [])
    if place is not None:
        detail = f"no number of datatype {tensor.datatype}"
        return _refused(_PLACE + join_pointer(["data", *place]), "bad_number", detail)
    detail = f"neither flat with {math.prod(shape)} numbers nor nested as {tensor.shape}"
    return _refused(f"{_PLACE}/data", "bad_shape", detail)


def _find_other(value: Any, types: set[type], place: list[int]) -> list[int] | None:
    """The place of the first item that is of none of the types."""
    if isinstance(value, list):
        for number, item in enumerate(cast("list[Any]", value)):
            found = _find_other(item, types, [*place, number])
            if found is not None:
                return found
        return None
    return None if type(value) in types else place


def _refuse_range(flat: NDArray[Any]) -> NDArray[Any]:
    """The same pixels. Raises ProblemError where one is not within 0 to 255."""
    if flat.dtype == np.uint8 or (flat.min() >= 0 and flat.max() <= 255):  # noqa: PLR2004 - and no NaN
        return flat
    first = int(np.flatnonzero(~((flat >= 0) & (flat <= 255)))[0])  # noqa: PLR2004
    raise _refused(_PLACE, "out_of_range", f"number {first} of the tensor is not within 0 to 255")
