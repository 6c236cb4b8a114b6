"""What Schemathesis can't know of this server: its pictures and tensors, and what no schema says.

It loads this module by its environment variable SCHEMATHESIS_HOOKS.
"""

import io
import itertools
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

AnyCase = Case[Any]

BINARY_TYPE = "application/octet-stream"
KEY = "Idempotency-Key"
MAX_NUMBERS = 10 * 28 * 28  # that are put into a tensor
BYTE_TYPES = {BINARY_TYPE, "multipart/form-data"}
HEADER_LENGTH = "Inference-Header-Content-Length"

# Jobs that other cases need: the only ones here that have been trained.
KEPT_JOBS = frozenset(os.environ.get("FUZZ_KEPT_JOBS", "").split(","))

# Codes of refusals for reasons that a schema has no words for, so that a request may fit its schema
# and be refused with one of them.
BEYOND_A_SCHEMA = frozenset(
    {
        "does_not_fit",  # two values that do not go together
        "limit_exceeded",  # all runs of a job, counted
        "unknown_run",
        "unknown_dataset",
        "unknown_model",
        "bad_alias",  # such as one that looks like an id
        "not_supported",  # of mlflow's searches
        "not_finished",
        "idempotency_mismatch",  # the same key with another request
        "bad_cursor",  # well formed, but of no list
        "bad_list",
        "unknown_layer",
        "repeated",
        "too_many_values",
        "several_ranges",
        "range_not_satisfiable",
        "out_of_range",  # rows of a test set that differs from model to model
        "too_long",  # bounds that an operator sets
        "one_of",
        "bad_shape",  # numbers that do not fill the shape that is said beside them
        "bad_size",
        "bad_number",
        "bad_length",
        "unsupported",
    }
)
# The same for contents that a schema calls bytes and says no more of.
OF_BYTES = frozenset(
    {
        "bad_json",
        "model_type",  # JSON, and no object
        "unknown_datatype",
        "empty_file",
        "not_a_picture",
        "broken_picture",
        "animated_picture",
        "too_many_pixels",
    }
)


_numbers = itertools.count()


def _encode(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


def _draw_pictures(form: str, *modes: str) -> st.SearchStrategy[bytes]:
    """Pictures of a format, sound ones and damaged ones."""
    ramp = Image.linear_gradient("L")
    sizes = ((28, 28), (1, 1), (40, 7))
    sound = st.sampled_from(
        [_encode(ramp.resize(size).convert(mode), form) for size in sizes for mode in modes]
    )
    return sound | st.builds(_damage, sound, st.integers(0, 10_000), st.integers(0, 255))


def _damage(content: bytes, place: int, value: int) -> bytes:
    place %= len(content)
    return content[:place] + bytes([value]) + content[place + 1 :]


@st.composite
def _draw_tensors(draw: st.DrawFn) -> bytes:
    """Requests of the Open Inference Protocol with the bytes of their tensor after the JSON."""
    shape = draw(st.sampled_from([[1, 784], [2, 28, 28], [1, 1, 28, 28], [0, 784], [3, 28]]))
    datatype = draw(st.sampled_from(["UINT8", "FP32", "FP64"]))
    dtype = {"UINT8": np.uint8, "FP32": np.float32, "FP64": np.float64}[datatype]
    pixels = np.full(shape, draw(st.integers(0, 255)), dtype).tobytes()
    said = len(pixels) + draw(st.sampled_from([0, 0, 0, 1]))
    tensor = {
        "name": "images",
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": said},
    }
    wish = {"binary_data_output": draw(st.booleans())}
    return json.dumps({"inputs": [tensor], "parameters": wish}).encode() + pixels


for _name, _form, _modes in (
    ("image/png", "PNG", ("L", "RGBA", "P", "1", "LA", "I;16")),
    ("image/jpeg", "JPEG", ("L", "RGB", "CMYK")),
    ("image/webp", "WEBP", ("RGB", "RGBA")),
    ("image/bmp", "BMP", ("L", "RGB", "P")),
):
    schemathesis.openapi.media_type(_name, _draw_pictures(_form, *_modes))
schemathesis.openapi.media_type(BINARY_TYPE, _draw_tensors() | st.binary(max_size=200))


@schemathesis.hook
def map_case(context: HookContext, case: AnyCase) -> AnyCase:
    """Makes whole what is drawn part by part, where the parts would hardly ever fit together."""
    del context
    if case.meta is not None and case.meta.generation.mode.is_positive:
        if case.operation.path.endswith("/infer"):
            _fit_tensor(case)
        if KEY in case.headers:  # or most of what is drawn were another request with the same key
            case.headers[KEY] = f"{case.headers[KEY]}"[:200] + f"-{next(_numbers)}"
    return case


def _fit_tensor(case: AnyCase) -> None:
    """Says how much of a body is JSON, and fills the shape that is said with numbers."""
    case.headers.pop(HEADER_LENGTH, None)
    if isinstance(case.body, bytes):
        try:
            _, end = json.JSONDecoder().raw_decode(case.body.decode("latin-1"))
        except ValueError:
            return
        case.headers[HEADER_LENGTH] = str(end)
    elif isinstance(case.body, dict):
        body: Any = case.body
        for tensor in body["inputs"]:
            count = math.prod(tensor["shape"])
            if tensor.get("data") and count <= MAX_NUMBERS:
                tensor["data"] = [7] * count


@schemathesis.hook
def filter_case(context: HookContext, case: AnyCase) -> bool:
    """Leaves the trained jobs where they are."""
    del context
    parameters: dict[str, Any] = case.path_parameters or {}
    return case.method.upper() != "DELETE" or parameters.get("job_id") not in KEPT_JOBS


@schemathesis.hook
def filter_failure(
    context: HookContext, failure: Failure, case: AnyCase, response: Response
) -> bool:
    """Whether a failure is one: a refusal that a schema has no words for is none."""
    del context
    if not isinstance(failure, RejectedPositiveData):
        return True
    body = response.json()
    codes = {
        item["code"] for item in body["errors"] if not _is_whole_fraction(item, case.body)
    } or ({body["code"]} if not body["errors"] else set())
    beyond = BEYOND_A_SCHEMA
    if case.media_type in BYTE_TYPES or HEADER_LENGTH in case.headers:
        beyond |= OF_BYTES
    return not codes <= beyond


def _is_whole_fraction(item: Mapping[str, str], value: Any) -> bool:
    """Whether an error is that of 1.0 for an integer: a schema takes it for one, the server not."""
    if item["code"] != "int_type":
        return False
    for part in item["pointer"].split("/")[1:]:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return isinstance(value, float) and value.is_integer()
