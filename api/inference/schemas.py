"""What the Open Inference Protocol says of servers, models and tensors, as far as it is served."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from api.predict.sessions import INPUT, PROBABILITIES
from api.schemas import Body
from fmx_ml.specs import IMAGE_SIDE, Int

OUTPUTS = (PROBABILITIES, "label")
DATATYPES = ("FP32", "UINT8")
SHAPES = ([1, IMAGE_SIDE, IMAGE_SIDE], [IMAGE_SIDE, IMAGE_SIDE], [IMAGE_SIDE**2])  # of one picture

Parameters = dict[str, Any]


def _say_shapes() -> list[JsonValue]:
    """The shapes of any number of pictures, in a schema's words."""
    return [
        {
            "prefixItems": [{"type": "integer", "minimum": 1}, *({"const": n} for n in shape)],
            "minItems": 1 + len(shape),
            "maxItems": 1 + len(shape),
        }
        for shape in SHAPES
    ]


def _say_data() -> dict[str, JsonValue]:
    """Pixels row by row, flat or nested as one of the shapes, in a schema's words."""
    levels: list[JsonValue] = [{"type": "number", "minimum": 0, "maximum": 255}]
    for _ in SHAPES[0]:
        levels.append({"type": "array", "items": levels[-1]})
    return {"items": {"anyOf": levels}}


# The document alone says these: what does not fit has a plainer answer, with its own code.
_InputName = Annotated[str, Field(json_schema_extra={"const": INPUT})]
_OutputName = Annotated[str, Field(json_schema_extra={"enum": list(OUTPUTS)})]
_Datatype = Annotated[str, Field(json_schema_extra={"enum": list(DATATYPES)})]
_Shape = Annotated[list[Int], Field(json_schema_extra={"anyOf": _say_shapes()})]


class ServerMetadata(Body):
    """Who answers, and which extensions of the protocol it knows."""

    name: str
    version: str
    extensions: list[str]


class Liveness(Body):
    """The process is alive."""

    live: Literal[True] = True


class ServerReadiness(Body):
    """The server can do its work."""

    ready: Literal[True] = True


class ModelReadiness(Body):
    """The model is in memory and answers."""

    name: str
    ready: Literal[True] = True


class TensorMetadata(Body):
    """A tensor's name, the type of its elements and its shape; -1 is any number of pictures."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Body):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ConfiguredTensor(Body):
    """A tensor as a model's configuration has it: its shape without the number of pictures."""

    name: str
    data_type: str
    dims: list[int]
    reshape: dict[str, list[int]] | None = None


class DynamicBatching(Body):
    """Requests that arrive together go through the model together."""

    preferred_batch_size: list[int]
    max_queue_delay_microseconds: int


class ModelConfig(Body):
    """How a model is served, in the words of Triton's model configuration."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    dynamic_batching: DynamicBatching


class InputTensor(Body):
    """Pictures: FP32 or UINT8, 0 to 255, [N, 1, 28, 28], [N, 28, 28] or [N, 784]."""

    name: _InputName
    shape: _Shape
    datatype: _Datatype
    parameters: Parameters = Field(
        default={}, description="binary_data_size: the bytes that follow the JSON."
    )
    data: Annotated[list[Any], Field(json_schema_extra=_say_data())] | None = Field(
        default=None, description="Row by row, flat or nested; absent where bytes follow."
    )


class AskedOutput(Body):
    """An output that the client wants."""

    name: _OutputName
    parameters: Parameters = Field(
        default={},
        description="binary_data: as bytes, not as JSON. classification: of the probabilities, the "
        "so many greatest, as score:index:label.",
    )


class InferRequest(Body):
    """What to predict, and what to tell of it; bytes of tensors follow this object."""

    id: str | None = Field(default=None, max_length=256, description="Comes back in the answer.")
    parameters: Parameters = Field(
        default={}, description="binary_data_output: every output as bytes, if it says nothing."
    )
    inputs: Annotated[list[InputTensor], Field(json_schema_extra={"minItems": 1, "maxItems": 1})]
    outputs: list[AskedOutput] = Field(default=[], description="All, if none is named.")


class OutputTensor(Body):
    """An output: its data, or how many bytes of it follow the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[float] | list[str] | None = None


class InferResponse(Body):
    """What the model says of the pictures, in the order they were sent."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]
