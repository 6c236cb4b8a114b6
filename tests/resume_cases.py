"""Trainings that are interrupted, and go on in a place of their own from what was written."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fmx_ml.data.loader import AutoencoderData, HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.errors import StoppedError
from fmx_ml.pipelines import Member, autoencoder, common, train_pack
from fmx_ml.results import NeededRun
from fmx_ml.sinks import FolderSink, SavedCheckpoint
from fmx_ml.trainings import Training

NEVER = 10**9
WHOLE = ("model.safetensors", "model.onnx", "model.json", "test-predictions.csv")
"""Files that must be equal, byte by byte."""


class InterruptedSink(FolderSink):
    """Wants an end at the so-manieth look; keeps what it is offered as a worker's sink does."""

    def __init__(self, folder: Path, looks: int, earlier: Sequence[SavedCheckpoint] = ()) -> None:
        super().__init__(folder)
        self.looks, self.earlier = looks, list(earlier)
        self.offered: tuple[int, Callable[[Path], None]] | None = None
        self.resumed_at: int | None = None
        self.saved: list[SavedCheckpoint] = []

    def should_stop(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        return self.earlier

    def resumed(self, epoch: int) -> None:
        self.resumed_at = epoch

    def checkpoint(self, epoch: int, write: Callable[[Path], None]) -> None:
        assert epoch == self.history[-1].epoch
        if epoch % 2:
            self.offered = (epoch, write)
            self.save()
        self.offered = (epoch, write)

    def save(self) -> None:
        """Writes the newest that was offered."""
        if self.offered is None:
            return
        epoch, write = self.offered
        path = self.folder / f"checkpoint-{epoch}"
        write(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if not self.saved or self.saved[0].epoch < epoch:
            self.saved.insert(0, SavedCheckpoint(epoch=epoch, path=path, sha256=sha256))


@dataclass
class Attempt:
    """One attempt at some trainings together, or at one alone."""

    sinks: list[InterruptedSink]
    outcomes: dict[int, Any] = field(default_factory=dict[int, Any])

    def figures(self, place: int = 0) -> list[dict[str, Any]]:
        """The epochs of this attempt, without the times."""
        return [m.model_dump(exclude={"seconds"}) for m in self.sinks[place].history]

    def summary(self, place: int = 0) -> dict[str, Any]:
        """What the run has come to, without the times."""
        outcome = self.outcomes[place]
        if isinstance(outcome, Exception):
            raise outcome
        return {name: value for name, value in outcome.items() if name != "seconds"}

    def files(self, place: int = 0) -> dict[str, bytes]:
        """Those that must be equal."""
        folder = self.sinks[place].folder
        return {name: (folder / name).read_bytes() for name in WHOLE if (folder / name).exists()}

    def num_looks(self, place: int = 0) -> int:
        """How often it has been asked whether to stop."""
        return NEVER - self.sinks[place].looks


@dataclass
class Runner:
    """Trains on a part of the pictures, asked at each step whether to stop."""

    data: HalfData | AutoencoderData
    sources: DataSources
    folder: Path
    needed: Sequence[NeededRun] = ()
    engine: Engine = "auto"
    num_threads: int = 1
    count: int = 0

    def start(
        self,
        trainings: Sequence[Training],
        looks: Sequence[int] = (),
        earlier: Sequence[Sequence[SavedCheckpoint]] = (),
    ) -> Attempt:
        """One attempt, through the same door as a worker's; its files lie in their own folder."""
        self.count += 1
        folder = self.folder / f"attempt-{self.count}"
        numbers = range(len(trainings))
        sinks = [
            InterruptedSink(
                folder / str(n), looks[n] if looks else NEVER, earlier[n] if earlier else ()
            )
            for n in numbers
        ]
        attempt = Attempt(sinks)
        members = [Member(trainings[n], sinks[n], self.needed) for n in numbers]

        def ended(place: int, outcome: dict[str, Any] | Exception) -> None:
            attempt.outcomes[place] = outcome
            if isinstance(outcome, StoppedError):
                sinks[place].save()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fmx_ml.engine.stop._LOOK_SECONDS", 0)
            patch.setattr(autoencoder, "load_autoencoder_data", lambda *_: self.data)
            patch.setattr(common, "load_half", lambda *_: self.data)
            train_pack(
                members,
                sources=self.sources,
                device="cpu",
                num_threads=self.num_threads,
                engine=self.engine,
                ended=ended,
            )
        return attempt


def assert_equal(ours: Attempt, whole: Attempt, place: int = 0, of: int | None = None) -> None:
    """What an attempt has come to is to the last bit what a whole one has."""
    of = place if of is None else of
    assert ours.files(place) == whole.files(of) != {}
    assert ours.summary(place) == whole.summary(of)
    begun = ours.sinks[place].resumed_at or 0
    assert ours.figures(place) == whole.figures(of)[begun:]
