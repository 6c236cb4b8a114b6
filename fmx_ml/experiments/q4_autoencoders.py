"""The tables of Q4's autoencoders: the grid ranked, the published error, each run."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from fmx_ml.experiments import shared
from fmx_ml.experiments.q4_spec import AutoencoderConfiguration, Q4Spec, say_sizes
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.published import Published, require_published
from fmx_ml.questions import Cell
from fmx_ml.results import Comparison, RunOutcome, Table
from fmx_ml.specs import Layer, Preset
from fmx_ml.trainings import AutoencoderTraining

Whose = Literal["report", "grid", "own"]
Encoders = Mapping[Whose, Outcomes]

_DECIMALS = 5  # of the published error
_UNIT_OVER_REPORT = 0.25  # squared: -1 to 1 is twice as wide as 0 to 1
_ERRATA = (6, 11, 12, 22, 24)
_UNRELATED = ("grid", "autoencoder_max_epochs", "autoencoder_early_stopping", "own", "own_mlp",
              "half", "mlp", "fractions", "sweep_epochs", "final")  # fmt: skip


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


class _Figures(Published):
    autoencoder_best: PublishedBest


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
        return "the given"
    return "the report's" if spec.encoder == AutoencoderConfiguration() else "the perceptrons'"


def training_of(outcome: RunOutcome) -> AutoencoderTraining:
    """The training of an autoencoder's outcome."""
    training = outcome.training
    assert isinstance(training, AutoencoderTraining)  # noqa: S101 - asked of autoencoders alone
    return training


def tabulate_grid(ranked: Sequence[Outcomes], qualifier: str) -> list[Table]:
    """A row a configuration, by true mean squared error; the report's measure beside it."""
    if not ranked:
        return []
    published = require_published("q4", _Figures).autoencoder_best
    by_report = sorted(ranked, key=lambda found: fmean(shared.values_of(found, "report_error")))
    rows: list[list[Cell]] = []
    for number, outcomes in enumerate(ranked, start=1):
        training = training_of(outcomes[0])
        rows.append([
            number, say_sizes(training.model), training.batch_size,
            training.optimiser.learning_rate, *shared.tell_spread(outcomes, "train_mse"),
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
    unrelated = (*_UNRELATED, "encoder", "encoder_run") if found else _UNRELATED
    barred = shared.say_incomparable(preset, spec, exclude=unrelated)
    beside = shared.make_comparer("q4.autoencoder", barred, _DECIMALS)
    published = require_published("q4", _Figures).autoencoder_best.train_error
    best = shared.values_of(outcomes, "report_error")
    last = shared.values_of(outcomes, "last", "report_error")
    return {
        "mse / batch size, best epoch": beside("train_error", published, best, *_ERRATA),
        "mse / batch size, last epoch": beside("train_error_last_epoch", published, last, *_ERRATA),
    }


def tabulate_error(errors: Mapping[str, Comparison], qualifier: str) -> list[Table]:
    """The report's own measure of its autoencoder, published and ours."""
    if not errors:
        return []
    title = f"The report's autoencoder beside the published error{qualifier}"
    best = require_published("q4", _Figures).autoencoder_best
    note = (
        f"The published {best.train_error} times the batch size of {best.batch_size} is a mean "
        f"squared error of {best.train_error * best.batch_size:.3f}."
    )
    return [shared.tabulate_comparisons("autoencoder_error", title, errors, note)]


def tabulate_encoders(encoders: Encoders, spec: Q4Spec, qualifier: str) -> list[Table]:
    """The report's autoencoder, the grid's best and our own, beside answers for every picture."""
    if not encoders:
        return []
    rows = [
        [name_encoder(whose, spec), name_autoencoder(training_of(outcomes[0])),
         *shared.tell_spread(outcomes, "train_mse"), fmean(shared.values_of(outcomes, "val_mse")),
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


def tabulate_runs(outcomes: Outcomes, qualifier: str) -> list[Table]:
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
