"""Small trainings of autoencoders and perceptrons, through the same door as a worker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fmx_ml.data.loader import (
    AutoencoderData,
    HalfData,
    first_of_each,
    load_autoencoder_data,
)
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.pipelines import autoencoder, common, train
from fmx_ml.results import NeededRun, RunOutcome
from fmx_ml.sinks import FolderSink
from fmx_ml.specs import AutoencoderSpec, MlpSpec, OptimiserSpec
from fmx_ml.trainings import AutoencoderTraining, MlpTraining

STRUCTURE = ((784, 32), (32, 10))


@dataclass(frozen=True)
class Trained:
    """A finished run and the folder of its files."""

    training: AutoencoderTraining | MlpTraining
    sink: FolderSink
    summary: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.sink.folder

    def needed(self) -> NeededRun:
        """As a run that starts from this one gets it."""
        outcome = RunOutcome(
            name="ae",
            training=self.training,
            history=self.sink.history,
            summary=self.summary,
        )
        return NeededRun(outcome=outcome, files={p.name: p for p in self.folder.iterdir()})


def small_pictures(sources: DataSources) -> AutoencoderData:
    """1,000 + 250 real pictures."""
    data = load_autoencoder_data("fashion-mnist", 0, sources)
    return replace(data, train=_first(data.train, 100), val=_first(data.val, 50))


def _first(pictures: Pictures, count: int) -> Pictures:
    rows = first_of_each(pictures.labels_N, count)
    return Pictures(pictures.images_NHW[rows], pictures.labels_N[rows])


def autoencoder_training(**fields: Any) -> AutoencoderTraining:
    """A training of two epochs that differs from it in some fields."""
    values: dict[str, Any] = {
        "seed": 0,
        "split_seed": 0,
        "dataset": "fashion-mnist",
        "model": AutoencoderSpec(structure=STRUCTURE),
        "optimiser": OptimiserSpec(name="Adam", learning_rate=0.003),
        "batch_size": 20,
        "max_epochs": 2,
        "early_stopping": None,
    }
    return AutoencoderTraining.model_validate(values | fields)


def mlp_training(**fields: Any) -> MlpTraining:
    """A training of two epochs that differs from it in some fields."""
    values: dict[str, Any] = {
        "seed": 0,
        "split_seed": 0,
        "dataset": "fashion-mnist",
        "half": "fm1",
        "model": MlpSpec(structure=STRUCTURE),
        "optimiser": OptimiserSpec(name="Adam", learning_rate=0.003),
        "batch_size": 32,
        "max_epochs": 2,
        "early_stopping": None,
    }
    return MlpTraining.model_validate(values | fields)


def train_small(
    training: AutoencoderTraining | MlpTraining,
    folder: Path,
    data: AutoencoderData | HalfData,
    sources: DataSources,
    needed: Sequence[NeededRun] = (),
    engine: Engine = "auto",
) -> Trained:
    """Trains on the data given instead of the whole set."""
    sink = FolderSink(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "load_autoencoder_data", lambda *_: data)
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
    return Trained(training, sink, summary)
