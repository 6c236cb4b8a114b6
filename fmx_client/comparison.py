"""Runs side by side: what they were given, what came of each, their curves."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from fmx_client.terminal.views import leaves
from fmx_client.types import Epoch, Run

_ENDING = 6  # characters of a job's id that tell it from others
# What a summary tells of where a run was trained, and not of what came of it.
_CIRCUMSTANCES = ("data.", "environment.", "export.")


class Metric(StrEnum):
    """The curves there are."""

    TRAIN_LOSS = "train_loss"
    VAL_LOSS = "val_loss"
    TRAIN_ACCURACY = "train_accuracy"
    VAL_ACCURACY = "val_accuracy"


class Row(BaseModel):
    """A parameter or a figure, and its value in each run; None where a run has none."""

    name: str
    values: list[Any]


class Curve(BaseModel):
    """A metric of one run over its epochs."""

    label: str
    points: list[tuple[int, float]]


class Compared(BaseModel):
    """Runs side by side."""

    labels: list[str]
    runs: list[Run]
    differences: list[Row]
    figures: list[Row]
    metric: str
    curves: list[Curve]


def put_side_by_side(
    runs: Sequence[Run], epochs: Sequence[Sequence[Epoch]], metric: Metric | None
) -> Compared:
    """The comparison of runs, given the epochs of each."""
    labels = _label(runs)
    chosen = metric or _usual_metric(epochs)
    curves = [_curve(label, of_run, chosen) for label, of_run in zip(labels, epochs, strict=True)]
    return Compared(
        labels=labels,
        runs=list(runs),
        differences=_rows([run.params or {} for run in runs], _differ),
        figures=_rows([run.summary for run in runs], _are_figures),
        metric=chosen,
        curves=[curve for curve in curves if curve.points],
    )


def _label(runs: Sequence[Run]) -> list[str]:
    """A run's name; with the end of its job's id where others bear the name too."""
    counts = Counter(run.name for run in runs)
    return [
        run.name if counts[run.name] == 1 else f"{run.job[-_ENDING:]}/{run.name}" for run in runs
    ]


def _usual_metric(epochs: Sequence[Sequence[Epoch]]) -> Metric:
    """The validation loss, or that of training where nothing was validated."""
    validated = any(epoch.val_loss is not None for of_run in epochs for epoch in of_run)
    return Metric.VAL_LOSS if validated else Metric.TRAIN_LOSS


def _curve(label: str, epochs: Iterable[Epoch], metric: Metric) -> Curve:
    values = ((epoch.epoch, getattr(epoch, metric)) for epoch in epochs)
    return Curve(label=label, points=[(at, value) for at, value in values if value is not None])


def _rows(
    objects: Sequence[Mapping[str, Any]], wanted: Callable[[str, Sequence[Any]], bool]
) -> list[Row]:
    """The leaves of objects side by side, in the order in which they first come."""
    flat = [dict(leaves(value)) for value in objects]
    names = dict.fromkeys(name for values in flat for name in values)
    rows = [Row(name=name, values=[values.get(name) for values in flat]) for name in names]
    return [row for row in rows if wanted(row.name, row.values)]


def _differ(_name: str, values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _are_figures(name: str, values: Sequence[Any]) -> bool:
    numbers = [value for value in values if value is not None]
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
    return bool(numbers) and are_numbers and not name.startswith(_CIRCUMSTANCES)
