"""A run as the tools that compare runs want it: parameters, final figures, times of its epochs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from fmx_ml.sinks import EpochMetrics
from fmx_store.tables import Run

COLUMNS = EpochMetrics.columns()
_SECONDS = COLUMNS.index("seconds")

Parameter: TypeAlias = str | float | bool


def flatten_parameters(training: Mapping[str, Any]) -> dict[str, Parameter]:
    """Each value of a training by its dotted name; lists as JSON, and nothing for nulls.

    A registered data set is one parameter, its name, beside the sha256 of its contents.
    """
    flat: dict[str, Parameter] = {}
    for name, value in training.items():
        if name == "dataset" and isinstance(value, Mapping):
            registered = cast("Mapping[str, str]", value)
            flat |= {"dataset": registered["name"], "dataset_sha256": registered["sha256"]}
        elif isinstance(value, Mapping):
            inner = flatten_parameters(cast("Mapping[str, Any]", value))
            flat |= {f"{name}.{key}": part for key, part in inner.items()}
        elif isinstance(value, str | int | float):  # a bool is an int
            flat[name] = value
        elif value is not None:
            flat[name] = json.dumps(value, separators=(",", ":"))
    return flat


def begin_time(run: Run) -> float:
    """When a run began, or came, in seconds since 1970."""
    return (run.started_at or run.created_at).timestamp()


def end_times(run: Run, rows: Sequence[Sequence[Any]]) -> list[float]:
    """When each epoch ended: as long after the one before as it took."""
    times: list[float] = []
    moment = begin_time(run)
    for row in rows:
        moment += row[_SECONDS]
        times.append(moment)
    return times


def final_step(run: Run) -> int:
    """The epoch that a run's final figures are of."""
    return int((run.summary or {}).get("best_epoch", run.epochs_done))


def final_figures(run: Run) -> dict[str, float]:
    """The numbers of a finished run's summary that are no epoch's: those of its tests above all."""
    return {
        name: value
        for name, value in (run.summary or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in COLUMNS
    }
