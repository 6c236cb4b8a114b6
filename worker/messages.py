"""What passes between a trainer and its supervisor: one JSON object a line."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from fmx_ml.sinks import EpochMetrics


def _relative(name: str) -> str:
    """The name, unless it could lead out of the trainer's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or str(path) != name or ".." in path.parts or name == ".":
        raise ValueError("an artifact's name is a plain relative path")
    return name


_Name = Annotated[str, Field(min_length=1, max_length=160), AfterValidator(_relative)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _OfRun(_Message):
    """What is said of one run; `place` is where it stands in the order."""

    place: int = Field(default=0, ge=0)


class Phase(_OfRun):
    """A new part of the work begins."""

    type: Literal["phase"] = "phase"
    name: str = Field(max_length=40)


class Epoch(_OfRun):
    """An epoch has ended."""

    type: Literal["epoch"] = "epoch"
    metrics: EpochMetrics


class ArtifactReady(_OfRun):
    """A file in the trainer's folder is complete."""

    type: Literal["artifact"] = "artifact"
    name: _Name


class Resumed(_OfRun):
    """The training goes on after an epoch of an earlier attempt; 0: from its start."""

    type: Literal["resumed"] = "resumed"
    epoch: int = Field(ge=0)


class CheckpointReady(_OfRun):
    """A file in the run's folder of checkpoints is complete."""

    type: Literal["checkpoint"] = "checkpoint"
    epoch: int = Field(ge=1)
    name: _Name


class Done(_OfRun):
    """The last message of a run that is done."""

    type: Literal["done"] = "done"
    summary: dict[str, Any] = {}
    results: dict[str, Any] | None = None


class Failed(_OfRun):
    """The last message of a run that has failed; `code` is an error's stable name."""

    type: Literal["failed"] = "failed"
    code: str
    message: str
    traceback: str | None = None


class Stopped(_OfRun):
    """The last message of a run that was to be stopped, and is."""

    type: Literal["stopped"] = "stopped"


Last = Done | Failed | Stopped
Message = Phase | Epoch | ArtifactReady | Resumed | CheckpointReady | Last

_adapter: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


class Assignment(_Message):
    """An order is in a file; what the trainer prints until its last message goes to the log."""

    type: Literal["assignment"] = "assignment"
    order: Path
    log: Path
    temporary: Path


class Drop(_Message):
    """A run of the order is to be stopped, the others go on."""

    type: Literal["drop"] = "drop"
    place: int


Instruction = Assignment | Drop

_instructions: TypeAdapter[Instruction] = TypeAdapter(
    Annotated[Instruction, Field(discriminator="type")]
)


def encode(message: Message) -> bytes:
    """The message as a line. Raises ValueError or TypeError for what JSON does not have."""
    # Not in pydantic's JSON mode, which writes null for NaN.
    text = json.dumps(message.model_dump(), allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def decode(line: bytes | bytearray) -> Message:
    """The message in a line. Raises pydantic.ValidationError."""
    return _adapter.validate_json(line)


def encode_instruction(instruction: Instruction) -> bytes:
    """The instruction as a line."""
    return instruction.model_dump_json().encode() + b"\n"


def decode_instruction(line: bytes | bytearray) -> Instruction:
    """The instruction in a line. Raises pydantic.ValidationError."""
    return _instructions.validate_json(line)
