"""Where a pipeline's metrics and files go: it knows this protocol and no database."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class EpochMetrics(BaseModel):
    """One epoch of a training. Losses are means a picture in nats, accuracies are in 0 to 1.

    Training figures are counted while the weights change, in training mode; validation figures
    after the epoch's last step. What a training does not have (an autoencoder's accuracy) is None.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    seconds: float

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of the figures, in the order of every table and CSV."""
        return tuple(cls.model_fields)


class SavedCheckpoint(BaseModel):
    """A file that a training can go on from, and the sha256 that its contents had when written."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    path: Path
    sha256: str


class Sink(Protocol):
    """What a pipeline reports to."""

    def phase(self, name: str) -> None:
        """A new part of the work begins: data, training, evaluation, export, figures."""
        ...

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch has ended."""
        ...

    def path(self, name: str) -> Path:
        """Where to write the file that becomes artifact `name` (its folder exists)."""
        ...

    def artifact(self, name: str) -> None:
        """The file at `path(name)` is complete and may be published."""
        ...

    def should_stop(self) -> bool:
        """Whether the pipeline should end now, by raising StoppedError."""
        ...

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        """What earlier attempts at this training have left, the newest first."""
        ...

    def resumed(self, epoch: int) -> None:
        """The training goes on after an epoch of an earlier attempt; 0: none of theirs is used."""
        ...

    def checkpoint(self, epoch: int, write: Callable[[Path], None]) -> None:
        """What the training needs to go on after an epoch can be written: now, later, or never.

        `write` writes it to a file, whole or not at all, as it was when this was called. Raises
        OSError.
        """
        ...


class FolderSink:
    """Writes artifacts straight into a folder and keeps the metrics."""

    def __init__(self, folder: Path) -> None:
        """The folder is made where it does not exist."""
        self.folder = folder
        self.phases: list[str] = []
        self.history: list[EpochMetrics] = []
        self.artifacts: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def epoch(self, metrics: EpochMetrics) -> None:
        self.history.append(metrics)

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def artifact(self, name: str) -> None:
        if not self.path(name).is_file():
            raise FileNotFoundError(self.path(name))
        self.artifacts.append(name)

    def should_stop(self) -> bool:
        return False

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        return ()

    def resumed(self, epoch: int) -> None:
        """Nothing is resumed in a folder."""

    def checkpoint(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Nothing is resumed in a folder."""
