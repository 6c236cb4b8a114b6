"""The tables of Q4: autoencoders ranked, table 4, and every start at every share."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from fmx_ml.experiments import shared
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.published import Published, require_published
from fmx_ml.questions import Cell
from fmx_ml.results import Comparison, RunOutcome, Table, mean_interval, spread
from fmx_ml.specs import CommonSpec, Preset
from fmx_ml.trainings import AutoencoderTraining

Start = Literal["random", "report", "own_random", "own"]
Sweep = dict[Start, dict[int, dict[int, RunOutcome]]]  # by start, percent and seed

LABELS: dict[Start, str] = {
    "random": "random weights",
    "report": "the encoder's weights",
    "own_random": "random weights, beside our own",
    "own": "our own encoder's weights",
}
FLOOR_NOTE = (
    "Cross-entropy over ten sigmoid outputs can't fall below 1.461 (erratum 29); "
    "output: logits asks for plain ones."
)

_PAIRS: tuple[tuple[Start, Start], ...] = (("report", "random"), ("own", "own_random"))
_FIGURES = ("train_accuracy", "val_accuracy", "test_accuracy")
_ERROR_DECIMALS = 5
_FINAL_DECIMALS = 5
_MLP_FIELDS = ("grid", "autoencoder_max_epochs", "autoencoder_early_stopping", "own", "own_mlp",
               "fractions", "sweep_epochs")  # fmt: skip
_UNRELATED = {
    "error": (*_MLP_FIELDS, "half", "mlp", "final"),
    "random": (*_MLP_FIELDS, "encoder", "encoder_run"),
    "report": _MLP_FIELDS,
}  # fields of the spec that do not bear on a figure


class _Best(Published):
    train_error: float


class _Accuracy(Published):
    train: float
    val: float
    test: float


class _Final(Published):
    random_mlp_30_percent: _Accuracy
    pretrained_mlp_100_percent: _Accuracy


class Q4Figures(Published):
    """What the report publishes of Q4 (sections 4.2 and 4.5)."""

    autoencoder_best: _Best
    final: _Final


def rank(outcomes: Iterable[RunOutcome]) -> list[Outcomes]:
    """Each configuration's runs, by their mean squared error while training, the lowest first."""
    groups = shared.group(outcomes, lambda outcome: outcome.name.split("-seed-")[0])
    return sorted(groups.values(), key=lambda found: fmean(shared.values_of(found, "train_mse")))


def name_autoencoder(training: AutoencoderTraining) -> str:
    """A configuration in one line."""
    sizes = "-".join(map(str, training.model.sizes))
    return (
        f"{sizes} · {shared.name_optimiser(training.optimiser)} · batch {training.batch_size}"
        f" · pixels in {'-1 to 1' if training.normalise == 'report' else '0 to 1'}"
    )


def _training_of(outcome: RunOutcome) -> AutoencoderTraining:
    training = outcome.training
    assert isinstance(training, AutoencoderTraining)  # noqa: S101 - asked of autoencoders alone
    return training


def tabulate_grid(ranked: Sequence[Outcomes], qualifier: str) -> list[Table]:
    """A row a configuration, by true mean squared error; the report's measure beside it."""
    if not ranked:
        return []
    by_report = sorted(
        ranked, key=lambda outcomes: fmean(shared.values_of(outcomes, "report_error"))
    )
    rows: list[list[Cell]] = []
    for number, outcomes in enumerate(ranked, start=1):
        training = _training_of(outcomes[0])
        mse = spread(shared.values_of(outcomes, "train_mse"))
        rows.append([
            number, "-".join(map(str, training.model.sizes)), training.batch_size,
            training.optimiser.learning_rate, mse.mean, mse.std if mse.n > 1 else None,
            fmean(shared.values_of(outcomes, "val_mse")),
            fmean(shared.values_of(outcomes, "report_error")), by_report.index(outcomes) + 1,
            _say_dead(outcomes), _say_collapsed(outcomes),
            fmean(shared.values_of(outcomes, "epochs")),
        ])  # fmt: skip
    num_collapsed = sum(row[10] != "no" for row in rows)
    return [
        Table(
            name="autoencoders",
            title=f"The grid of autoencoders{qualifier}",
            columns=["rank", "layers", "batch_size", "learning_rate", "mse", "mse_std", "val_mse",
                     "report_error", "rank_by_report_error", "dead_units", "collapsed", "epochs"],
            rows=rows,
            note="Ranked by the mean squared error of a pixel while training (erratum 13). "
            "report_error is the report's measure, that error over the batch size (erratum 11), "
            "by which large batches look better. "
            f"{num_collapsed} of {len(rows)} have collapsed: more than half of the code's units "
            "are 0 for every picture, or the error is no better than one picture's for all.",
        )
    ]  # fmt: skip


def _say_dead(outcomes: Outcomes) -> str:
    size = outcomes[0].summary["code_size"]
    return f"{fmean(shared.values_of(outcomes, 'dead_units')):g} of {size}"


def _say_collapsed(outcomes: Outcomes) -> str:
    count = sum(bool(outcome.summary["collapsed"]) for outcome in outcomes)
    if len(outcomes) == 1:
        return "yes" if count else "no"
    return f"{count} of {len(outcomes)}" if count else "no"


def compare_error(outcomes: Outcomes, preset: Preset, spec: CommonSpec) -> dict[str, Comparison]:
    """The report's autoencoder in its own measure beside the published error."""
    if not outcomes:
        return {}
    barred = shared.say_incomparable(preset, spec, exclude=_UNRELATED["error"])
    beside = shared.make_comparer("q4.autoencoder", barred, _ERROR_DECIMALS)
    published = require_published("q4", Q4Figures).autoencoder_best.train_error
    values = shared.values_of(outcomes, "report_error")
    return {"mse / batch size": beside("train_error", published, values, 11, 22, 24)}


def tabulate_encoders(
    encoders: Mapping[Literal["report", "own"], Outcomes],
    errors: Mapping[str, Comparison],
    qualifier: str,
) -> list[Table]:
    """The autoencoders that perceptrons start from, beside answers that see no picture."""
    if not encoders:
        return []
    whose = {"report": "the report's best", "own": "our own"}
    rows: list[list[Cell]] = []
    for name, outcomes in encoders.items():
        mse = spread(shared.values_of(outcomes, "train_mse"))
        rows.append([
            whose[name], name_autoencoder(_training_of(outcomes[0])), mse.mean,
            mse.std if mse.n > 1 else None, fmean(shared.values_of(outcomes, "val_mse")),
            fmean(shared.values_of(outcomes, "constant_mse", "zeros")),
            fmean(shared.values_of(outcomes, "constant_mse", "mean_picture")),
            _say_dead(outcomes), _say_collapsed(outcomes),
        ])  # fmt: skip
    tables = [
        Table(
            name="encoders",
            title=f"The autoencoders that perceptrons start from{qualifier}",
            columns=["whose", "autoencoder", "mse", "mse_std", "val_mse", "mse_of_zeros",
                     "mse_of_mean_picture", "dead_units", "collapsed"],
            rows=rows,
            note="Errors of a pixel; those of pixels in -1 to 1 are four times those of pixels in "
            "0 to 1. The last two errors are those of the same answer for every picture.",
        )
    ]  # fmt: skip
    if errors:
        title = f"The report's autoencoder beside the published error{qualifier}"
        tables.append(shared.tabulate_comparisons("autoencoder_error", title, errors))
    return tables


def compare_final(
    start: str, outcomes: Outcomes, preset: Preset, spec: CommonSpec
) -> dict[str, Comparison]:
    """One column of table 4."""
    published = require_published("q4", Q4Figures).final
    figures = published.random_mlp_30_percent
    if start == "report":
        figures = published.pretrained_mlp_100_percent
    barred = shared.say_incomparable(preset, spec, exclude=_UNRELATED[start])
    name = "pretrained" if start == "report" else "random"
    beside = shared.make_comparer(f"q4.final.{name}", barred, _FINAL_DECIMALS)
    values = {
        part: shared.values_of(outcomes, f"{part}_accuracy") for part in _Accuracy.model_fields
    }
    return {
        part: beside(f"accuracy.{part}", getattr(figures, part), found, 16, 22, 23)
        for part, found in values.items()
    }


def tabulate_table_4(finals: Mapping[str, Mapping[str, Comparison]], qualifier: str) -> list[Table]:
    """Table 4 as the report has it: two starts at two different shares."""
    if not finals:
        return []
    labels = {"random": "random weights, 30%", "report": "pre-trained, 100%"}
    rows = {
        f"{labels[start]}: {part}": comparison
        for start, found in finals.items()
        for part, comparison in found.items()
    }
    title = f"Table 4 beside the published{qualifier}"
    note = "The two columns of the report's table differ in their shares too (erratum 16)."
    return [shared.tabulate_comparisons("table_4", title, rows, note, FLOOR_NOTE)]


def tabulate_sweep(sweep: Sweep, qualifier: str) -> list[Table]:
    """Every start at every share, and what the encoder's weights add."""
    if not sweep:
        return []
    columns, rows = tell_sweep(sweep, list(sweep))
    return [
        Table(
            name="shares",
            title=f"Every start at every share of the training pictures{qualifier}",
            columns=list(columns),
            rows=[list(row) for row in rows],
            note="Figures of the epoch with the lowest validation loss. Pictures of a smaller "
            f"share are among those of a larger one. {FLOOR_NOTE}",
        ),
        *_tabulate_differences(sweep, qualifier),
    ]


def tell_sweep(sweep: Sweep, starts: Sequence[Start]) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows of the starts, a row a share and start."""
    columns = ["percent", "start", "runs",
               *(column for name in _FIGURES for column in (name, f"{name}_std"))]  # fmt: skip
    rows: list[list[Cell]] = []
    for percent in _list_percents(sweep):
        for start in starts:
            outcomes = list(sweep[start].get(percent, {}).values())
            if outcomes:
                row: list[Cell] = [percent, LABELS[start], len(outcomes)]
                for name in _FIGURES:
                    ours = spread(shared.values_of(outcomes, name))
                    row += [ours.mean, ours.std if ours.n > 1 else None]
                rows.append(row)
    return columns, rows


def _list_percents(sweep: Sweep) -> list[int]:
    return sorted({percent for runs in sweep.values() for percent in runs})


def _tabulate_differences(sweep: Sweep, qualifier: str) -> list[Table]:
    """The encoder's weights minus random ones, seed by seed."""
    rows: list[list[Cell]] = []
    for percent in _list_percents(sweep):
        for start, base in _PAIRS:
            theirs = sweep.get(base, {}).get(percent, {})
            ours = sweep.get(start, {}).get(percent, {})
            pairs = [(outcome, theirs[seed]) for seed, outcome in ours.items() if seed in theirs]
            if pairs:
                cells = [cell for name in _FIGURES for cell in _tell_difference(pairs, name)]
                rows.append([percent, LABELS[start], len(pairs), *cells])
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


def _tell_difference(pairs: Sequence[tuple[RunOutcome, RunOutcome]], figure: str) -> list[Cell]:
    differences = [one.summary[figure] - other.summary[figure] for one, other in pairs]
    mean = spread(differences)
    low, high = mean_interval(mean) if mean.n > 1 else (None, None)
    return [mean.mean, low, high]


def tabulate_runs(outcomes: Outcomes, qualifier: str) -> list[Table]:
    """A row a perceptron; autoencoders are in the table of the grid."""
    perceptrons = [o for o in outcomes if not isinstance(o.training, AutoencoderTraining)]
    if not perceptrons:
        return []
    note = f"Figures of the best epoch. {FLOOR_NOTE}"
    return [shared.tabulate_runs(perceptrons, f"Each perceptron{qualifier}", note)]
