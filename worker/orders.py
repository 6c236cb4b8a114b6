"""What a trainer is to do, as its supervisor writes it into the scratch folder."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from fmx_ml.data.sources import DataSources
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.results import NeededRun, RunOutcome
from fmx_ml.sinks import SavedCheckpoint
from fmx_ml.specs import Device, Preset
from fmx_ml.trainings import Training


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Model):
    """Where a run leaves its artifacts, and the log that says what it does."""

    folder: Path
    log: Path


class Continuation(_Model):
    """What earlier attempts have left, the newest first; where this one leaves what, how often."""

    earlier: list[SavedCheckpoint]
    folder: Path
    seconds: float


class TrainMember(Place):
    """One training, and the finished runs that had to succeed before it."""

    training: Training
    needed: list[NeededRun]
    continuation: Continuation


class TrainOrder(_Model):
    """A training, or several that train together."""

    task: Literal["train"] = "train"
    members: list[TrainMember]
    device: Device
    num_threads: int | None
    engine: Engine
    sources: DataSources


class CollateOrder(Place):
    """A job's tables and figures; `inputs` holds the local file of each run's artifacts."""

    task: Literal["collate"] = "collate"
    kind: str
    preset: Preset
    spec: dict[str, Any]
    outcomes: list[RunOutcome]
    inputs: dict[str, dict[str, Path]]


Order = TrainOrder | CollateOrder

_adapter: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="task")])


def write_order(order: Order, path: Path) -> None:
    """Writes an order for the trainer that will be started with it."""
    path.write_bytes(_adapter.dump_json(order))


def read_order(path: Path) -> Order:
    """The order in a file. Raises OSError, pydantic.ValidationError."""
    return _adapter.validate_json(path.read_bytes())
