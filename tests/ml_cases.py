"""Small cases of the ML library that tests of several rooms can use."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from fmx_ml.data.sources import Pictures
from fmx_ml.engine.evaluate import Examples
from fmx_ml.experiments.q1 import Q1Spec
from fmx_ml.experiments.shared import make_cnn_training
from fmx_ml.results import RunOutcome
from fmx_ml.trainings import CnnTraining


def miss(reason: str) -> NoReturn:
    """Skips, or fails where nothing may be missing."""
    if os.environ.get("FMX_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def take_first(pictures: Pictures, per_class: int) -> Pictures:
    """The first pictures of each of five classes, in their order."""
    labels = pictures.labels_N
    rows = np.sort(np.concatenate([np.flatnonzero(labels == k)[:per_class] for k in range(5)]))
    return Pictures(pictures.images_NHW[rows], pictures.labels_N[rows])


def make_spec(**fields: Any) -> Q1Spec:
    """A Q1 spec that differs from the report's in some fields."""
    return Q1Spec.model_validate(fields)


def make_training(**fields: Any) -> CnnTraining:
    """The training of the first seed of such a spec."""
    spec = make_spec(**fields)
    return make_cnn_training(spec, spec.seeds[0])


@dataclass(frozen=True)
class SmallExamples:
    """Normalised pictures on the CPU."""

    train: Examples
    val: Examples


@dataclass(frozen=True)
class FinishedJob:
    """Finished runs and the folder that holds a folder of each."""

    spec: Q1Spec
    outcomes: list[RunOutcome]
    folder: Path

    def artifact_path(self, run: str, artifact: str) -> Path:
        return self.folder / run / artifact
