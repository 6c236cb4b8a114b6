"""A training after one of its epochs, as a file: safetensors, whose metadata hold the rest as JSON.

The form is the same whatever computed it: the kernel, torch, or an ensemble. So a run can go on
where another engine has left it.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fmx_ml.sinks import EpochMetrics

_FACTS = "fmx"  # the entry of the metadata
_LENGTH_BYTES = 8  # of a safetensors file, which say how long its header is

Tensors = Mapping[str, Tensor]


class CheckpointError(Exception):
    """A checkpoint is damaged, or that of another training; the message says how."""


class _Facts(BaseModel):
    """What is no tensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    training: str
    maker: str
    history: list[EpochMetrics] = Field(min_length=1)
    best_epoch: int = Field(ge=1)
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on as if nothing had happened.

    Attributes:
        training: its hash.
        maker: what computed it, down to what its last bits depend on.
        history: its epochs so far, one at least.
        best_epoch: the one that `best_weights` are of.
        seconds: that it has taken, in all attempts.
        moments: what the optimiser remembers of each weight, by torch's names for it.
        generators: the states of those that it draws from.
    """

    training: str
    maker: str
    history: Sequence[EpochMetrics]
    best_epoch: int
    seconds: float
    best_weights: Tensors
    last_weights: Tensors
    moments: Mapping[str, Tensors]
    generators: Tensors

    @property
    def epoch(self) -> int:
        """The one that it was written after."""
        return len(self.history)

    def write(self, path: Path) -> None:
        """Writes it; at its path it is there whole, and on the disk, or not at all.

        Raises OSError.
        """
        facts = _Facts(
            training=self.training,
            maker=self.maker,
            history=list(self.history),
            best_epoch=self.best_epoch,
            seconds=self.seconds,
        )
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self._named().items()}
        _write_durably(path, save(tensors, {_FACTS: facts.model_dump_json()}))

    def _named(self) -> dict[str, Tensor]:
        """Every tensor; the best weights only where they are not the last."""
        best = {} if self.best_epoch == self.epoch else self.best_weights
        groups = {"last": self.last_weights, "best": best, "generator": self.generators}
        groups |= {f"moment/{slot}": moments for slot, moments in self.moments.items()}
        return {
            f"{group}/{name}": tensor
            for group, tensors in groups.items()
            for name, tensor in tensors.items()
        }


def read(path: Path, sha256: str) -> Checkpoint:
    """The checkpoint in a file whose contents had this digest when it was written.

    Raises CheckpointError.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"it can't be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError("it is damaged: its digest is another one")
    try:
        return _parse(content)
    except (SafetensorError, ValidationError, ValueError, KeyError) as error:
        raise CheckpointError(f"it is none that this version reads: {error}") from error


def _parse(content: bytes) -> Checkpoint:
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    facts = _Facts.model_validate_json(header["__metadata__"][_FACTS])
    groups: dict[str, dict[str, Tensor]] = {"last": {}, "best": {}, "generator": {}}
    for full_name, tensor in load(content).items():
        group, _, name = full_name.rpartition("/")
        groups.setdefault(group, {})[name] = tensor
    last, best, generators = (groups.pop(name) for name in ("last", "best", "generator"))
    return Checkpoint(
        training=facts.training,
        maker=facts.maker,
        history=facts.history,
        best_epoch=facts.best_epoch,
        seconds=facts.seconds,
        best_weights=best or last,
        last_weights=last,
        moments={group.removeprefix("moment/"): tensors for group, tensors in groups.items()},
        generators=generators,
    )


def describe_maker(engine: str, device: torch.device) -> str:
    """An engine, and what else the last bits of its results depend on."""
    what = f"{engine}, torch {torch.__version__} on {device.type}"
    if device.type != "cpu":
        return what
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{what} {instructions} with {torch.get_num_threads()} threads"


def _write_durably(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.part")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
