"""What a job answers: tables, figures, and each published figure beside ours.

A comparison's interval is the 95% prediction interval of one more run of ours: a published figure
is one run's figure, so that is the interval it should lie in. It needs two runs at least.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from fmx_ml.sinks import EpochMetrics
from fmx_ml.specs import DatasetName, Preset
from fmx_ml.trainings import Training

# Student's t at probability 0.975 for 1, 2, … 31 degrees of freedom (32 seeds at most).
# Source: Abramowitz and Stegun, Handbook of Mathematical Functions, table 26.10.
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
    2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074,
    2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042, 2.040,
)  # fmt: skip


class Result(BaseModel):
    """A value of a results body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Table(Result):
    """A table: one list of cells (text, numbers or null) for each row."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str | int | float | None]]
    note: str | None = None


class Figure(Result):
    """A figure of the report and the artifacts that show it: pictures, then their numbers."""

    number: str
    title: str
    artifacts: list[str]


class Spread(Result):
    """Our figure over the seeds; the deviation is the sample's (n - 1), 0 for one run."""

    mean: float
    std: float
    n: int
    values: list[float]


class Comparison(Result):
    """A published figure beside ours; `errata` are numbers in fmx_ml.published's list."""

    id: str
    published: float | None
    ours: Spread | None
    interval: tuple[float, float] | None = None
    verdict: Literal["inside", "outside", "not_comparable"]
    reason: str | None = None
    errata: list[int] = []


class Erratum(Result):
    """A place where the report contradicts itself or its code, and what is done here."""

    number: int
    where: str
    says: str
    done: str
    evidence: str | None = None  # what was measured


class Results(Result):
    """The tables of a question, ours beside the published."""

    kind: str
    preset: Preset
    dataset: DatasetName
    tables: list[Table]
    figures: list[Figure]
    comparisons: list[Comparison]
    errata: list[Erratum] = []


class RunOutcome(BaseModel):
    """A finished run, as the collation of its job and the runs that need it see it."""

    model_config = ConfigDict(frozen=True)

    name: str
    training: Training
    history: list[EpochMetrics]
    summary: dict[str, Any]


class NeededRun(BaseModel):
    """A finished run that another one starts from, and the local files of its artifacts."""

    model_config = ConfigDict(frozen=True)

    outcome: RunOutcome
    files: dict[str, Path]


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample deviation of at least one value."""
    return Spread(
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else 0.0,
        n=len(values),
        values=list(values),
    )


def prediction_interval(ours: Spread) -> tuple[float, float]:
    """The 95% interval for one more run, from n >= 2 runs: mean ± t s sqrt(1 + 1/n)."""
    half = _T_975[ours.n - 2] * ours.std * math.sqrt(1 + 1 / ours.n)
    return ours.mean - half, ours.mean + half


def mean_interval(ours: Spread) -> tuple[float, float]:
    """The 95% confidence interval of the mean, from n >= 2 runs: mean ± t s / sqrt(n)."""
    half = _T_975[ours.n - 2] * ours.std / math.sqrt(ours.n)
    return ours.mean - half, ours.mean + half


def compare(
    identity: str,
    published: float | None,
    values: Sequence[float],
    *,
    incomparable: str | None = None,
    decimals: int | None = None,
    errata: Sequence[int] = (),
) -> Comparison:
    """A published figure beside our values.

    Args:
        identity: the comparison's id, as q1.accuracy.test.
        published: the report's figure; None where it has none.
        values: ours, one a finished run.
        incomparable: why they can't be compared, if they can't.
        decimals: the digits the published figure was rounded to; half of the last one widens the
            interval.
        errata: numbers of the errata that bear on it.
    """
    ours = spread(values) if values else None
    reason = incomparable
    if reason is None and published is None:
        reason = "the report has no such figure"
    if reason is None and (ours is None or ours.n < 2):  # noqa: PLR2004 - a deviation needs two
        reason = "one run has no spread: ask for two seeds or more"
    interval = None
    verdict: Literal["inside", "outside", "not_comparable"] = "not_comparable"
    if ours is not None and ours.n > 1:
        interval = prediction_interval(ours)
    if reason is None and interval is not None and published is not None:
        rounding = 0.5 * 10.0**-decimals if decimals is not None else 0.0
        inside = interval[0] - rounding <= published <= interval[1] + rounding
        verdict = "inside" if inside else "outside"
    return Comparison(
        id=identity,
        published=published,
        ours=ours,
        interval=interval,
        verdict=verdict,
        reason=reason,
        errata=list(errata),
    )
