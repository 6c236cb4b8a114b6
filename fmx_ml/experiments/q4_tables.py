"""The tables of Q4's perceptrons: table 4, and every start at every share."""

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Literal

from fmx_ml.experiments import shared, sweeps
from fmx_ml.experiments.q4_spec import FinalSpec, Q4Spec
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.experiments.sweeps import Runs
from fmx_ml.published import Published, require_published
from fmx_ml.questions import Cell
from fmx_ml.results import Comparison, Spread, Table
from fmx_ml.specs import MlpSpec, Preset
from fmx_ml.trainings import MlpTraining

Start = Literal["random", "report", "own_random", "own"]
Sweep = Mapping[Start, Runs]

LABELS: dict[Start, str] = {
    "random": "random weights",
    "report": "the encoder's weights",
    "own_random": "random weights, beside our own",
    "own": "our own encoder's weights",
}
PAIRS: tuple[tuple[Start, Start], ...] = (("random", "report"), ("own_random", "own"))
PARTS = {"train": "training", "val": "validation", "test": "test"}

_FIGURES = tuple(f"{part}_accuracy" for part in PARTS)
_ENCODERS: dict[Start, str] = {"report": "the_encoder", "own": "our_own_encoder"}
_HALF = 50  # percent; where small shares end
_DECIMALS = {"random": 5, "report": 6}  # as table 4 prints them
_SWEEPS = ("grid", "autoencoder_max_epochs", "autoencoder_early_stopping", "own", "own_mlp",
           "fractions", "sweep_epochs")  # fmt: skip
_UNRELATED = {
    "random": (*_SWEEPS, "encoder", "encoder_run", "final.pretrained_percent"),
    "report": (*_SWEEPS, "final.random_percent"),
}  # fields of the spec that do not bear on a figure
_ERRATA = {"random": (15, 16, 20, 22, 31), "report": (15, 16, 22, 23, 31)}
_PART_ERRATA = {"train": (2, 21), "val": (2,), "test": ()}


class _Accuracy(Published):
    train: float
    val: float
    test: float


class _Final(Published):
    random_mlp_30_percent: _Accuracy
    pretrained_mlp_100_percent: _Accuracy


class _Figures(Published):
    final: _Final


def compare_final(
    start: Start, outcomes: Outcomes, preset: Preset, spec: Q4Spec
) -> dict[str, Comparison]:
    """One column of table 4, by the name of a table's row. Raises KeyError for our own starts."""
    published = require_published("q4", _Figures).final
    column = {
        "random": ("random", published.random_mlp_30_percent),
        "report": ("pretrained", published.pretrained_mlp_100_percent),
    }
    name, figures = column[start]
    barred = _say_barred(start, outcomes, preset, spec)
    beside = shared.make_comparer(f"q4.final.{name}", barred, _DECIMALS[start])
    return {
        f"{_name_final(start, spec.final)}: {word}": beside(
            f"accuracy.{part}",
            getattr(figures, part),
            shared.values_of(outcomes, f"{part}_accuracy"),
            *sorted({*_ERRATA[start], *_PART_ERRATA[part]}),
        )
        for part, word in PARTS.items()
    }


def _say_barred(start: Start, outcomes: Outcomes, preset: Preset, spec: Q4Spec) -> str | None:
    """Why a column is not compared; from random weights only the encoder's pixels matter."""
    barred = shared.say_incomparable(preset, spec, exclude=_UNRELATED[start])
    ranges = {o.training.normalise for o in outcomes if isinstance(o.training, MlpTraining)}
    if start == "random" and "unit" in ranges:
        return "; ".join([*([barred] if barred else []), "the pixels are in 0 to 1"])
    return barred


def _name_final(start: Start, final: FinalSpec | None) -> str:
    final = final or FinalSpec()
    if start == "random":
        return f"random weights, {final.random_percent}%"
    return f"pre-trained, {final.pretrained_percent}%"


def tabulate_table_4(
    finals: Mapping[Start, Mapping[str, Comparison]], qualifier: str
) -> list[Table]:
    """Table 4 as the report has it: two starts at two different shares."""
    rows = {label: comparison for found in finals.values() for label, comparison in found.items()}
    if not rows:
        return []
    return [
        shared.tabulate_comparisons(
            "table_4",
            f"Table 4 beside the published{qualifier}",
            rows,
            "Figures of the epoch with the lowest validation loss; the training accuracy is "
            "counted while training.",
            "The report's learning rate of 0.01 is high for perceptrons that end in a sigmoid "
            "(erratum 31). "
            "The two starts have different shares of the pictures too (erratum 16); the table of "
            "all shares sets like against like.",
        )
    ]


def say_floor(name: str, mlp: MlpSpec) -> str:
    """Below what no loss of a perceptron that ends in sigmoids can fall; empty for plain logits.

    The best that O outputs within 0 to 1 can do is 1 for the class and 0 for the others, of which
    the softmax makes e / (e + O - 1).
    """
    if mlp.output != "sigmoid":
        return ""
    num_outputs = mlp.sizes[-1]
    floor = math.log(math.e + num_outputs - 1) - 1
    return (
        f"The losses of {name} can't fall below {floor:.3f}: they are cross-entropies over "
        f"{num_outputs} sigmoid outputs (erratum 29)."
    )


def tabulate_sweep(sweep: Sweep, spec: Q4Spec, qualifier: str) -> list[Table]:
    """Every start at every share, what the encoder's weights add, and what the report says."""
    if not sweep:
        return []
    return [
        sweeps.tabulate_shares(
            sweep,
            LABELS,
            _FIGURES,
            qualifier,
            f"{spec.sweep_epochs} epochs each; figures of the epoch with the lowest validation "
            "loss. Pictures of a smaller share are among those of a larger one (erratum 20). The "
            "encoder's weights are copies (erratum 23).",
        ),
        *sweeps.tabulate_differences(
            sweep,
            PAIRS,
            LABELS,
            _FIGURES,
            f"What pre-training adds{qualifier}",
            "Pre-trained minus random weights, in pairs with the same seed, pictures and order.",
        ),
        *_tabulate_statements(sweep, qualifier),
    ]


def _tabulate_statements(sweep: Sweep, qualifier: str) -> list[Table]:
    """What section 4.4 says of figure 16, beside what ours says for each encoder."""
    gains: dict[Start, dict[str, dict[int, Spread]]] = {
        start: {
            part: sweeps.pair_up(sweep, base, start, f"{part}_accuracy")
            for part in ("train", "val")
        }
        for base, start in PAIRS
    }
    gains = {start: found for start, found in gains.items() if found["val"]}
    if not gains:
        return []
    rows: list[list[Cell]] = [
        [f"shares at which pre-training is better, {PARTS[part]}", "all of them",
         *(_count_better(found[part]) for found in gains.values())]
        for part in ("train", "val")
    ]  # fmt: skip
    rows.append([f"validation gain up to {_HALF}% of the pictures", None,
                 *(_average(found["val"], 0, _HALF) for found in gains.values())])  # fmt: skip
    rows.append([f"validation gain above {_HALF}%", "larger",
                 *(_average(found["val"], _HALF, 100) for found in gains.values())])  # fmt: skip
    return [
        Table(
            name="statements",
            title=f"What is said of figure 16{qualifier}",
            columns=["statement", "published", *(_ENCODERS[start] for start in gains)],
            rows=rows,
            note="By the means over the seeds. The report's perceptrons shared their weights with "
            "the encoder, so each share started from what the one before had learnt (erratum 23).",
        )
    ]


def _count_better(gain: Mapping[int, Spread]) -> str:
    return f"{sum(difference.mean > 0 for difference in gain.values())} of {len(gain)}"


def _average(gain: Mapping[int, Spread], above: int, most: int) -> float | None:
    values = [difference.mean for percent, difference in gain.items() if above < percent <= most]
    return fmean(values) if values else None


def tabulate_runs(outcomes: Outcomes, spec: Q4Spec, qualifier: str) -> list[Table]:
    """A row a perceptron."""
    perceptrons = [o for o in outcomes if isinstance(o.training, MlpTraining)]
    if not perceptrons:
        return []
    notes = [
        "Figures of the best epoch.",
        say_floor("the report's perceptrons", spec.mlp.model),
        say_floor("our own perceptrons", spec.own_mlp.model) if spec.own is not None else "",
    ]
    note = " ".join(filter(None, notes))
    return [shared.tabulate_runs(perceptrons, f"Each perceptron{qualifier}", note)]
