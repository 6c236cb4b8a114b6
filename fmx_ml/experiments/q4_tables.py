"""The tables of Q4: autoencoders ranked, table 4, and every start at every share."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from fmx_ml.experiments import shared
from fmx_ml.experiments.q4_spec import AutoencoderConfiguration, FinalSpec, Q4Spec, say_sizes
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.published import Published, require_published
from fmx_ml.questions import Cell
from fmx_ml.results import Comparison, RunOutcome, Spread, Table, mean_interval, spread
from fmx_ml.specs import Layer, MlpSpec, Preset
from fmx_ml.trainings import AutoencoderTraining

Start = Literal["random", "report", "own_random", "own"]
Whose = Literal["report", "grid", "own"]
Runs = dict[int, dict[int, RunOutcome]]  # by percent and seed
Sweep = dict[Start, Runs]
Encoders = Mapping[Whose, Outcomes]

LABELS: dict[Start, str] = {
    "random": "random weights",
    "report": "the encoder's weights",
    "own_random": "random weights, beside our own",
    "own": "our own encoder's weights",
}
PAIRS: tuple[tuple[Start, Start], ...] = (("random", "report"), ("own_random", "own"))
PARTS = {"train": "training", "val": "validation", "test": "test"}

_FIGURES = tuple(f"{part}_accuracy" for part in PARTS)
_HALF = 50  # percent; where small shares end
_ERROR_DECIMALS = 5
_FINAL_DECIMALS = {"random": 5, "report": 6}  # as table 4 prints them
_UNIT_OVER_REPORT = 0.25  # squared: -1 to 1 is twice as wide as 0 to 1

_SWEEPS = ("grid", "autoencoder_max_epochs", "autoencoder_early_stopping", "own", "own_mlp",
           "fractions", "sweep_epochs")  # fmt: skip
_ENCODER = ("encoder", "encoder_run")
_UNRELATED = {
    "error": (*_SWEEPS, "half", "mlp", "final"),
    "random": (*_SWEEPS, *_ENCODER, "final.pretrained_percent"),
    "report": (*_SWEEPS, "final.random_percent"),
}  # fields of the spec that do not bear on a figure
_ERROR_ERRATA = (6, 11, 12, 22, 24)
_FINAL_ERRATA = {"random": (15, 16, 20, 22), "report": (15, 16, 22, 23)}
_PART_ERRATA = {"train": (2, 21), "val": (2,), "test": ()}


class PublishedBest(Published):
    """The configuration that the report calls the best, and its error."""

    structure: tuple[Layer, ...]
    batch_size: int
    learning_rate: float
    train_error: float

    def is_of(self, training: AutoencoderTraining) -> bool:
        """Whether a training is of this configuration."""
        return (
            training.model.structure == self.structure
            and training.batch_size == self.batch_size
            and training.optimiser.learning_rate == self.learning_rate
            and training.normalise == "report"
        )


class _Accuracy(Published):
    train: float
    val: float
    test: float


class _Final(Published):
    random_mlp_30_percent: _Accuracy
    pretrained_mlp_100_percent: _Accuracy


class Q4Figures(Published):
    """What the report publishes of Q4 (sections 4.2 and 4.5)."""

    autoencoder_best: PublishedBest
    final: _Final


def rank(outcomes: Iterable[RunOutcome]) -> list[Outcomes]:
    """Each configuration's runs, by their mean squared error while training, the lowest first."""
    groups = shared.group(outcomes, lambda outcome: outcome.name.split("-seed-")[0])
    return sorted(groups.values(), key=lambda found: fmean(shared.values_of(found, "train_mse")))


def name_autoencoder(training: AutoencoderTraining) -> str:
    """A configuration in one line."""
    pixels = "-1 to 1" if training.normalise == "report" else "0 to 1"
    return " · ".join([
        say_sizes(training.model),
        shared.name_optimiser(training.optimiser),
        f"batch {training.batch_size}",
        f"pixels in {pixels}",
    ])  # fmt: skip


def name_encoder(whose: Whose, spec: Q4Spec) -> str:
    """Whose autoencoder it is, in words; the perceptrons' may be another than the report's."""
    if whose == "grid":
        return "the grid's best"
    if whose == "own":
        return "our own"
    if spec.encoder_run is not None:
        return f"that of run {spec.encoder_run}"
    is_report = spec.encoder == AutoencoderConfiguration()
    return "the report's best" if is_report else "the perceptrons' encoder"


def training_of(outcome: RunOutcome) -> AutoencoderTraining:
    """The training of an autoencoder's outcome."""
    training = outcome.training
    assert isinstance(training, AutoencoderTraining)  # noqa: S101 - asked of autoencoders alone
    return training


def tabulate_grid(ranked: Sequence[Outcomes], qualifier: str) -> list[Table]:
    """A row a configuration, by true mean squared error; the report's measure beside it."""
    if not ranked:
        return []
    published = require_published("q4", Q4Figures).autoencoder_best
    by_report = sorted(ranked, key=lambda found: fmean(shared.values_of(found, "report_error")))
    rows: list[list[Cell]] = []
    for number, outcomes in enumerate(ranked, start=1):
        training = training_of(outcomes[0])
        rows.append([
            number, say_sizes(training.model), training.batch_size,
            training.optimiser.learning_rate, *_mean_and_std(outcomes, "train_mse"),
            fmean(shared.values_of(outcomes, "val_mse")),
            fmean(shared.values_of(outcomes, "report_error")), by_report.index(outcomes) + 1,
            published.train_error if published.is_of(training) else None,
            _say_dead(outcomes), _say_collapsed(outcomes),
            fmean(shared.values_of(outcomes, "epochs")),
        ])  # fmt: skip
    num_collapsed = sum(_count_collapsed(outcomes) > 0 for outcomes in ranked)
    return [
        Table(
            name="autoencoders",
            title=f"The grid of autoencoders{qualifier}",
            columns=["rank", "layers", "batch_size", "learning_rate", "mse", "mse_std", "val_mse",
                     "report_error", "rank_by_report_error", "published", "dead_units",
                     "collapsed", "epochs"],
            rows=rows,
            note="Ranked by the mean squared error of a pixel while training (erratum 13). "
            "report_error is the report's measure, that error over the batch size (erratum 11), "
            "by which large batches look better; what is published is in that measure. "
            f"{num_collapsed} of {len(rows)} configurations have collapsed: more than half of the "
            "code's units are 0 for every picture, or the error is no better than that of one "
            "picture for all (erratum 24).",
        )
    ]  # fmt: skip


def _mean_and_std(outcomes: Outcomes, *keys: str) -> list[Cell]:
    ours = spread(shared.values_of(outcomes, *keys))
    return [ours.mean, _std_of(ours)]


def _std_of(ours: Spread) -> float | None:
    return ours.std if ours.n > 1 else None


def _say_dead(outcomes: Outcomes) -> str:
    size = outcomes[0].summary["code_size"]
    return f"{fmean(shared.values_of(outcomes, 'dead_units')):.3g} of {size}"


def _count_collapsed(outcomes: Outcomes) -> int:
    return sum(bool(outcome.summary["collapsed"]) for outcome in outcomes)


def _say_collapsed(outcomes: Outcomes) -> str:
    count = _count_collapsed(outcomes)
    if count in {0, len(outcomes)}:
        return "yes" if count else "no"
    return f"{count} of {len(outcomes)}"


def compare_error(
    found: Outcomes, encoder: Outcomes, preset: Preset, spec: Q4Spec
) -> dict[str, Comparison]:
    """The report's autoencoder in its own measure beside the published error.

    `found` are trainings exactly as the report's, wherever in the job they are. Where there are
    none the perceptrons' encoder stands in, and the comparison says in what it differs.
    """
    outcomes = found or encoder
    if not outcomes:
        return {}
    unrelated = (*_UNRELATED["error"], *(_ENCODER if found else ()))
    barred = shared.say_incomparable(preset, spec, exclude=unrelated)
    beside = shared.make_comparer("q4.autoencoder", barred, _ERROR_DECIMALS)
    published = require_published("q4", Q4Figures).autoencoder_best.train_error
    best = shared.values_of(outcomes, "report_error")
    last = shared.values_of(outcomes, "last", "report_error")
    return {
        "mse / batch size, best epoch": beside("train_error", published, best, *_ERROR_ERRATA),
        "mse / batch size, last epoch": beside(
            "train_error_last_epoch", published, last, *_ERROR_ERRATA
        ),
    }


def tabulate_error(errors: Mapping[str, Comparison], qualifier: str) -> list[Table]:
    """The report's own measure of its autoencoder, published and ours."""
    if not errors:
        return []
    title = f"The report's autoencoder beside the published error{qualifier}"
    note = "The published 0.02155 times the batch size of 32 is a mean squared error of 0.690."
    return [shared.tabulate_comparisons("autoencoder_error", title, errors, note)]


def tabulate_encoders(encoders: Encoders, spec: Q4Spec, qualifier: str) -> list[Table]:
    """The report's autoencoder, the grid's best and our own, beside answers for every picture."""
    if not encoders:
        return []
    rows = [
        [name_encoder(whose, spec), name_autoencoder(training_of(outcomes[0])),
         *_mean_and_std(outcomes, "train_mse"), fmean(shared.values_of(outcomes, "val_mse")),
         fmean(shared.values_of(outcomes, "constant_mse", "zeros")),
         fmean(shared.values_of(outcomes, "constant_mse", "mean_picture")),
         measure_unit_error(outcomes), _say_dead(outcomes), _say_collapsed(outcomes),
         fmean(shared.values_of(outcomes, "epochs"))]
        for whose, outcomes in encoders.items()
    ]  # fmt: skip
    return [
        Table(
            name="encoders",
            title=f"The report's autoencoder, the grid's best and our own{qualifier}",
            columns=["whose", "autoencoder", "mse", "mse_std", "val_mse", "zeros_mse",
                     "mean_picture_mse", "unit_mse", "dead_units", "collapsed", "epochs"],
            rows=rows,
            note="zeros_mse and mean_picture_mse are the errors of the same answer for every "
            "picture, on the same pixels: zeros, and the mean picture as far as a sigmoid reaches. "
            "unit_mse is the error with all pixels taken to lie in 0 to 1: those of pixels in "
            "-1 to 1 are four times as large (erratum 12).",
        )
    ]  # fmt: skip


def measure_unit_error(outcomes: Outcomes) -> float:
    """The mean squared error of pixels in 0 to 1, whichever the autoencoder was given."""
    factor = _UNIT_OVER_REPORT if training_of(outcomes[0]).normalise == "report" else 1.0
    return factor * fmean(shared.values_of(outcomes, "train_mse"))


def tabulate_autoencoder_runs(outcomes: Outcomes, qualifier: str) -> list[Table]:
    """A row an autoencoder: how it ended, its best epoch's figures, what it took."""
    found = [o for o in outcomes if isinstance(o.training, AutoencoderTraining)]
    if not found:
        return []
    figures = ["train_mse", "val_mse", "report_error", "dead_units"]
    rows: list[list[Cell]] = [
        [o.name, name_autoencoder(training_of(o)), o.training.seed, o.summary["epochs"],
         shared.say_end(o.summary), o.summary["best_epoch"],
         *(o.summary[figure] for figure in figures), _say_collapsed([o]),
         o.summary["seconds"], o.summary["device"]]
        for o in found
    ]  # fmt: skip
    return [
        Table(
            name="autoencoder_runs",
            title=f"Each autoencoder{qualifier}",
            columns=["run", "autoencoder", "seed", "epochs", "ended_by", "best_epoch", *figures,
                     "collapsed", "seconds", "device"],
            rows=rows,
            note="Figures of the epoch with the lowest training error.",
        )
    ]  # fmt: skip


def compare_final(
    start: Start, outcomes: Outcomes, preset: Preset, spec: Q4Spec
) -> dict[str, Comparison]:
    """One column of table 4, by the name of a table's row. Raises KeyError for our own starts."""
    published = require_published("q4", Q4Figures).final
    column = {
        "random": ("random", published.random_mlp_30_percent),
        "report": ("pretrained", published.pretrained_mlp_100_percent),
    }
    name, figures = column[start]
    barred = _say_barred(start, outcomes, preset, spec)
    beside = shared.make_comparer(f"q4.final.{name}", barred, _FINAL_DECIMALS[start])
    return {
        f"{_name_final(start, spec.final)}: {word}": beside(
            f"accuracy.{part}",
            getattr(figures, part),
            shared.values_of(outcomes, f"{part}_accuracy"),
            *sorted({*_FINAL_ERRATA[start], *_PART_ERRATA[part]}),
        )
        for part, word in PARTS.items()
    }


def _say_barred(start: Start, outcomes: Outcomes, preset: Preset, spec: Q4Spec) -> str | None:
    """Why a column is not compared; from random weights only the encoder's pixels matter."""
    barred = shared.say_incomparable(preset, spec, exclude=_UNRELATED[start])
    ranges = {o.training.normalise for o in outcomes if o.training.task == "train_mlp"}
    if start == "random" and "unit" in ranges:
        return "; ".join([*([barred] if barred else []), "the pixels are in 0 to 1"])
    return barred


def _name_final(start: Start, final: FinalSpec | None) -> str:
    final = final or FinalSpec()
    if start == "random":
        return f"random weights, {final.random_percent}%"
    return f"pre-trained, {final.pretrained_percent}%"


def tabulate_table_4(finals: Mapping[Start, Mapping[str, Comparison]], qualifier: str) -> list[Table]:
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
        Table(
            name="shares",
            title=f"Every start at every share of the training pictures{qualifier}",
            columns=["percent", "start", "runs",
                     *(column for name in _FIGURES for column in (name, f"{name}_std"))],
            rows=_tell_sweep(sweep),
            note=f"{spec.sweep_epochs} epochs each; figures of the epoch with the lowest "
            "validation loss. Pictures of a smaller share are among those of a larger one "
            "(erratum 20). The encoder's weights are copies (erratum 23).",
        ),
        *_tabulate_differences(sweep, qualifier),
        *_tabulate_statements(sweep, qualifier),
    ]  # fmt: skip


def _tell_sweep(sweep: Sweep) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for percent in _list_percents(sweep):
        for start, runs in sweep.items():
            if outcomes := list(runs.get(percent, {}).values()):
                cells = [cell for name in _FIGURES for cell in _mean_and_std(outcomes, name)]
                rows.append([percent, LABELS[start], len(outcomes), *cells])
    return rows


def _list_percents(sweep: Sweep) -> list[int]:
    return sorted({percent for runs in sweep.values() for percent in runs})


def pair_up(sweep: Sweep, base: Start, start: Start, figure: str) -> dict[int, Spread]:
    """The encoder's weights minus random ones, seed by seed, by share."""
    differences: dict[int, Spread] = {}
    for percent, ours in sweep.get(start, {}).items():
        theirs = sweep.get(base, {}).get(percent, {})
        values = [
            outcome.summary[figure] - theirs[seed].summary[figure]
            for seed, outcome in ours.items()
            if seed in theirs
        ]
        if values:
            differences[percent] = spread(values)
    return differences


def _tabulate_differences(sweep: Sweep, qualifier: str) -> list[Table]:
    """What the encoder's weights add, and the interval of that mean."""
    rows: list[list[Cell]] = []
    found = {
        start: {figure: pair_up(sweep, base, start, figure) for figure in _FIGURES}
        for base, start in PAIRS
    }
    for percent in _list_percents(sweep):
        for start, by_figure in found.items():
            gains = [gain[percent] for gain in by_figure.values() if percent in gain]
            if gains:
                cells = [cell for gain in gains for cell in _tell_gain(gain)]
                rows.append([percent, LABELS[start], gains[0].n, *cells])
    if not rows:
        return []
    return [
        Table(
            name="differences",
            title=f"What pre-training adds{qualifier}",
            columns=["percent", "start", "pairs",
                     *(column for name in _FIGURES
                       for column in (name, f"{name}_low", f"{name}_high"))],
            rows=rows,
            note="Pre-trained minus random weights, in pairs with the same seed, pictures and "
            "order. The mean difference lies between low and high with 95% probability; one pair "
            "has no such interval.",
        )
    ]  # fmt: skip


def _tell_gain(gain: Spread) -> list[Cell]:
    return [gain.mean, *(mean_interval(gain) if gain.n > 1 else (None, None))]


def _tabulate_statements(sweep: Sweep, qualifier: str) -> list[Table]:
    """What section 4.4 says of figure 16, beside what ours says for each encoder."""
    gains = {
        start: {part: pair_up(sweep, base, start, f"{part}_accuracy") for part in ("train", "val")}
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
    names = {"report": "the_encoder", "own": "our_own_encoder"}
    return [
        Table(
            name="statements",
            title=f"What is said of figure 16{qualifier}",
            columns=["statement", "published", *(names[start] for start in gains)],
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
    perceptrons = [o for o in outcomes if not isinstance(o.training, AutoencoderTraining)]
    if not perceptrons:
        return []
    notes = [
        "Figures of the best epoch.",
        say_floor("the report's perceptrons", spec.mlp.model),
        say_floor("our own perceptrons", spec.own_mlp.model) if spec.own is not None else "",
    ]
    note = " ".join(filter(None, notes))
    return [shared.tabulate_runs(perceptrons, f"Each perceptron{qualifier}", note)]
