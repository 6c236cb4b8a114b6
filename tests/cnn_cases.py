"""Small trainings of convolutional networks and trials, through the same door as a worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.device import cpu_threads
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.pipelines import common, train
from fmx_ml.pipelines.cnn import train_cnn
from fmx_ml.pipelines.common import CPU
from fmx_ml.results import NeededRun, RunOutcome
from fmx_ml.search import Sampling
from fmx_ml.sinks import FolderSink
from fmx_ml.trainings import CnnTraining, TrialTraining


@dataclass(frozen=True)
class Ran:
    """A finished run and the folder of its files."""

    training: CnnTraining | TrialTraining
    sink: FolderSink
    summary: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.sink.folder

    @property
    def outcome(self) -> RunOutcome:
        return RunOutcome(
            name=self.folder.name,
            training=self.training,
            history=self.sink.history,
            summary=self.summary,
        )

    def needed(self) -> NeededRun:
        """As a run that starts from this one gets it."""
        files = {name: self.folder / name for name in self.sink.artifacts}
        return NeededRun(outcome=self.outcome, files=files)

    def figures(self) -> list[dict[str, Any]]:
        """The history without the times."""
        return [metrics.model_dump(exclude={"seconds"}) for metrics in self.sink.history]


def run_small(
    training: CnnTraining | TrialTraining,
    folder: Path,
    data: HalfData,
    sources: DataSources,
    needed: Sequence[NeededRun] = (),
    engine: Engine = "auto",
) -> Ran:
    """Trains on the data given instead of the whole half."""
    sink = FolderSink(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "load_half", lambda *_: data)
        summary = train(
            training,
            sink,
            sources=sources,
            device="cpu",
            num_threads=1,
            needed=needed,
            engine=engine,
        )
    return Ran(training, sink, summary)


def make_trial(number: int = 0, **fields: Any) -> TrialTraining:
    """A trial of two epochs; `search` is a search's fields."""
    search = Sampling.model_validate(fields.pop("search", {}))
    values: dict[str, Any] = {
        "seed": 0,
        "split_seed": 0,
        "dataset": "fashion-mnist",
        "half": "fm1",
        "search": search,
        "number": number,
        "max_epochs": 2,
        "early_stopping": None,
    }
    return TrialTraining.model_validate(values | fields)


def run_reference(
    training: CnnTraining,
    folder: Path,
    data: HalfData,
    sources: DataSources,
    needed: Sequence[NeededRun] = (),
) -> Ran:
    """Trains alone by the reference engine, where a worker would train a pack of one."""
    sink = FolderSink(folder)
    with pytest.MonkeyPatch.context() as patch, cpu_threads(1):
        patch.setattr(common, "load_half", lambda *_: data)
        summary = train_cnn(training, sink, sources, CPU, needed, "torch")
    summary["environment"]["threads"] = 1
    return Ran(training, sink, summary)
