"""The tables of Q5: whole trainings and section 5.5 beside the published, and each start."""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Literal

from fmx_ml.experiments import shared, sweeps
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.experiments.sweeps import Runs
from fmx_ml.published import Published, require_published
from fmx_ml.results import Comparison, RunOutcome, Table
from fmx_ml.specs import CommonSpec, Preset

Start = Literal["random", "frozen", "fine_tune"]
Sweep = Mapping[Start, Runs]

LABELS: dict[Start, str] = {
    "random": "random initialisation",
    "frozen": "frozen transfer",
    "fine_tune": "fine-tuned transfer",
}
_PAIRS: tuple[tuple[Start, Start], ...] = (("random", "frozen"), ("random", "fine_tune"))
BEST_NOTE = "Figures of the epoch with the lowest validation loss, unless another is named."
TWICE_NOTE = "The report's code tests the last epoch's weights: its test figures stand twice."

_SWEEP_FIELDS = ("fractions", "starts", "final_percent", "source_run")
_UNRELATED = {
    "fmnist2_initial": ("best", *_SWEEP_FIELDS),
    "fmnist2_best": ("initial", *_SWEEP_FIELDS),
    "fmnist1": ("initial", *_SWEEP_FIELDS),
    "random": ("initial", "fractions", "starts", "source_run"),
    "frozen": ("initial", "fractions", "starts"),
    "fine_tune": ("initial", "fractions", "starts"),
}  # fields of the spec that do not bear on a figure
_DOUBTFUL = {("fmnist1", "test_loss"): 18}  # by training and figure: the erratum
_LAST_EPOCH = {("fmnist2_best", "test_loss"): 26}

_FIGURES = {
    "train_accuracy": "training accuracy, counted while training",
    "best_weights_train_accuracy": "training accuracy, best epoch's weights",
    "train_loss": "training loss, counted while training",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "test_accuracy_last_epoch": "test accuracy, last epoch",
    "test_loss_last_epoch": "test loss, last epoch",
    "best_epoch": "best epoch",
}
_FINAL_FIGURES = {
    "train_accuracy": "training",
    "val_accuracy": "validation",
    "test_accuracy": "test",
    "test_accuracy_last_epoch": "test, last epoch",
}
_SWEEP_FIGURES = ("val_loss", "val_accuracy", "test_accuracy")


class _Pair(Published):
    accuracy: float
    loss: float


class _Whole(Published):
    train: _Pair
    val: _Pair
    test: _Pair | None = None

    def find(self, figure: str) -> float | None:
        """The published figure, where there is one; its test figures are the last epoch's."""
        part, _, quantity = figure.removesuffix("_last_epoch").partition("_")
        pair: _Pair | None = getattr(self, part, None)
        return getattr(pair, quantity, None)


class _Final(Published):
    train: float
    val: float
    test: float


class _Finals(Published):
    random: _Final
    transfer: _Final


class Q5Figures(Published):
    """What the report publishes of Q5 in numbers (sections 5.1 to 5.5)."""

    fmnist2_initial: _Whole
    fmnist2_best: _Whole
    fmnist1: _Whole
    final_90_percent: _Finals


def compare_whole(
    key: str, outcomes: Outcomes, preset: Preset, spec: CommonSpec
) -> dict[str, Comparison]:
    """A training on all pictures by the name of a table's row, beside sections 5.1 to 5.3."""
    published: _Whole = getattr(require_published("q5", Q5Figures), key)
    barred = shared.say_incomparable(preset, spec, exclude=_UNRELATED[key])
    beside = shared.make_comparer(f"q5.{key}", barred)
    comparisons: dict[str, Comparison] = {}
    for figure, label in _FIGURES.items():
        tested = figure.removesuffix("_last_epoch")
        errata = _list_errata(figure, _DOUBTFUL.get((key, tested)), _LAST_EPOCH.get((key, tested)))
        doubt = "the published test loss is doubtful" if (key, tested) in _DOUBTFUL else None
        reason = "; ".join(filter(None, [doubt, barred])) or None
        values = _take(outcomes, figure)
        comparisons[label] = beside(
            figure, published.find(figure), values, *errata, incomparable=reason
        )
    return comparisons


def tabulate_whole(
    key: str, title: str, comparisons: Mapping[str, Comparison], qualifier: str
) -> Table:
    """The figures of a training on all pictures, ours beside the published."""
    tested = any(row.published is not None and ".test_" in row.id for row in comparisons.values())
    notes = [BEST_NOTE, TWICE_NOTE] if tested else [BEST_NOTE]
    return shared.tabulate_comparisons(
        key, f"{title}, beside the published{qualifier}", comparisons, *notes
    )


def _list_errata(figure: str, *further: int | None) -> list[int]:
    errata = {erratum for erratum in further if erratum is not None}
    errata |= {1} if figure.startswith("test") else {2}
    errata |= {21} if figure == "train_accuracy" else set()
    return sorted({*errata, 22})


def _take(outcomes: Iterable[RunOutcome], figure: str) -> list[float]:
    found = list(outcomes)
    if figure.endswith("_last_epoch"):
        return shared.values_of(found, "last", figure.removesuffix("_last_epoch"))
    return shared.values_of(found, figure)


def compare_final(
    sweep: Sweep, preset: Preset, spec: CommonSpec, percent: int
) -> dict[Start, dict[str, Comparison]]:
    """Every start at one share of the pictures, beside section 5.5: by the name of a table's row.

    The report has one row of transfer figures; it stands beside both readings of transfer.
    """
    finals = require_published("q5", Q5Figures).final_90_percent
    return {
        start: _compare_start(
            start, runs[percent].values(), finals.random if start == "random" else finals.transfer,
            shared.say_incomparable(preset, spec, exclude=_UNRELATED[start]),
        )
        for start, runs in sweep.items()
        if percent in runs
    }  # fmt: skip


def _compare_start(
    start: Start, outcomes: Iterable[RunOutcome], published: _Final, barred: str | None
) -> dict[str, Comparison]:
    beside = shared.make_comparer(f"q5.final.{start}", barred)
    reading = None if start == "random" else 25
    comparisons: dict[str, Comparison] = {}
    for figure, label in _FINAL_FIGURES.items():
        statement = None if figure.startswith("train") else 19
        errata = _list_errata(figure, statement, 20, reading)
        theirs: float = getattr(published, figure.split("_")[0])
        comparisons[f"{LABELS[start]}: {label}"] = beside(
            figure, theirs, _take(outcomes, figure), *errata
        )
    return comparisons


def tabulate_final(
    final: Mapping[Start, Mapping[str, Comparison]], preset: Preset, spec: CommonSpec, percent: int
) -> list[Table]:
    """Section 5.5's table, the published transfer figures beside both readings of transfer."""
    rows = {label: row for found in final.values() for label, row in found.items()}
    if not rows:
        return []
    barred = shared.say_incomparable(preset, spec, exclude=_UNRELATED["frozen"])
    return [
        shared.tabulate_comparisons(
            "final",
            f"Accuracies with {percent}% of the training pictures{shared.qualify(preset, spec)}",
            rows,
            BEST_NOTE,
            TWICE_NOTE,
            "The published transfer figures stand beside both readings of transfer: only the last "
            "layer learns (frozen), which is what the report's code does, or all layers learn "
            "(fine-tuned).",
            *(_say_reading(final) if barred is None else []),
            "The report's text says that random initialisation did better in the test too; "
            "its table says otherwise (erratum 19).",
        )
    ]


def _say_reading(final: Mapping[Start, Mapping[str, Comparison]]) -> list[str]:
    """Which reading of transfer agrees with the published figures."""
    readings: dict[Start, list[Comparison]] = {
        start: list(rows.values()) for start, rows in final.items() if start != "random"
    }
    sentences: list[str] = []
    if len(readings) > 1:
        distance: dict[Start, float] = {
            start: _measure_distance(rows) for start, rows in readings.items()
        }
        nearer, farther = sorted(distance, key=lambda start: distance[start])
        sentences.append(
            f"{LABELS[nearer].capitalize()} agrees better: its figures are "
            f"{distance[nearer]:.4f} from the published ones on average, "
            f"those of {LABELS[farther]} {distance[farther]:.4f}."
        )
    for start, rows in readings.items():
        verdicts = [row.verdict for row in rows if row.interval is not None]
        if verdicts:
            inside = verdicts.count("inside")
            sentences.append(
                f"Inside the interval of {LABELS[start]}: {inside} of {len(verdicts)}."
            )
    return sentences


def _measure_distance(comparisons: Iterable[Comparison]) -> float:
    """How far our means are from the published figures, on average."""
    return fmean(
        abs(comparison.ours.mean - comparison.published)
        for comparison in comparisons
        if comparison.ours is not None and comparison.published is not None
    )


def tabulate_sweep(sweep: Sweep, spec_percent: int, source: str, qualifier: str) -> list[Table]:
    """Every start at every share, and how the transfers differ from random initialisation."""
    if not sweep:
        return []
    notes = [
        "Figures of the epoch with the lowest validation loss.",
        "Pictures of a smaller share are among those of a larger one.",
    ]
    if len(sweep) > 1 or "random" not in sweep:
        notes.append(f"Transferred weights: {source}.")
    if not any(spec_percent in runs for runs in sweep.values()):
        notes.append(f"No run has {spec_percent}% of the pictures, so section 5.5 has no table.")
    return [
        sweeps.tabulate_shares(sweep, LABELS, _SWEEP_FIGURES, qualifier, " ".join(notes)),
        *sweeps.tabulate_differences(
            sweep,
            _PAIRS,
            LABELS,
            _SWEEP_FIGURES,
            f"Differences to random initialisation{qualifier}",
            "Transfer minus random initialisation, in pairs with the same seed and pictures.",
        ),
    ]
