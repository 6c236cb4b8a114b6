"""The report's figures, and where the report contradicts itself, as data (no torch)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fmx_ml.results import Erratum
from fmx_ml.specs import Kind

_FILE = Path(__file__).with_name("published.json")


class _Published(BaseModel):
    """A part of the file; what else it holds is for other questions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Q1Config(_Published):
    """The hyperparameters that the report's Q1 ran with."""

    conv_layers: int
    dense_layers: int
    optimiser: str
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_epochs: int


class Q1Accuracy(_Published):
    """Accuracies in 0 to 1, rounded to four digits (report, table 2)."""

    train: float
    val: float
    test: float


class Q1Figures(_Published):
    """What the report publishes of Q1 (sections 1.1 to 1.5)."""

    config: Q1Config
    best_epoch: int
    accuracy: Q1Accuracy
    figures: dict[str, str]


def require_q1() -> Q1Figures:
    """The report's Q1."""
    return Q1Figures.model_validate(_content()["q1"])


def list_errata(kind: Kind) -> list[Erratum]:
    """The errata that bear on a kind of experiment, by number."""
    return [
        Erratum(**{name: entry[name] for name in Erratum.model_fields})
        for entry in _content()["errata"]
        if kind in entry["kinds"]
    ]


def published_figures(kind: Kind) -> dict[str, Any]:
    """All that is published of a kind of experiment, as JSON."""
    content = _content()
    match kind:
        case "q1":
            return {
                "source": content["source"],
                **content["q1"],
                "data": content["data"],
                "early_stopping": content["early_stopping"]["cnn"],
                "errata": [erratum.model_dump() for erratum in list_errata(kind)],
            }


@cache
def _content() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))
