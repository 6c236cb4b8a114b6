"""What a job's results were made from: enough to make them again (no torch)."""

from collections.abc import Iterable, Sequence
from typing import Any

from fmx_ml.requests import spec_hash
from fmx_ml.results import RunOutcome
from fmx_ml.specs import CommonSpec, Preset


def manifest(
    kind: str, preset: Preset, spec: CommonSpec, outcomes: Sequence[RunOutcome]
) -> dict[str, Any]:
    """Spec, seeds, environments, devices and data of a job and of each of its runs, as JSON.

    An environment is the code's version and revision, the packages and the machine of the process
    that trained; one for each that differs.
    """
    runs = [_describe(outcome) for outcome in outcomes]
    return {
        "kind": kind,
        "preset": preset,
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec_hash(kind, spec),
        "seeds": _distinct(run["seed"] for run in runs),
        "environments": _distinct(run["environment"] for run in runs),
        "devices": _distinct(run["device"] for run in runs),
        "data": _distinct(run["data"] for run in runs),
        "runs": runs,
    }


def _describe(outcome: RunOutcome) -> dict[str, Any]:
    summary = outcome.summary
    return {
        "name": outcome.name,
        "seed": outcome.training.seed,
        "training": outcome.training.model_dump(mode="json"),
        "epochs": summary["epochs"],
        "seconds": summary["seconds"],
        "device": summary["device"],
        "data": summary["data"],
        "environment": summary["environment"],
        "export": summary.get("export"),
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of its first appearance; values need no hash."""
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct
