"""The tables of Q2: configurations beside table 3, the choice among them, trials."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fmx_ml.experiments import shared
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.published import Published, require_published
from fmx_ml.questions import Cell
from fmx_ml.results import Comparison, Table, spread
from fmx_ml.specs import CnnConfiguration, CommonSpec, Preset
from fmx_ml.trainings import TrialTraining

FIGURES = (
    "train_loss", "val_loss", "test_loss", "train_accuracy", "val_accuracy", "test_accuracy",
)  # fmt: skip
LAST_FIGURES = ("test_loss_last_epoch", "test_accuracy_last_epoch")

_MISPRINTS = {(3, "val_accuracy"): 8}  # by model and figure: the erratum
_DOUBTFUL = {(4, "train_accuracy"): 9}
_ADAM_DECAY = 10
_DECOUPLED = 30


@dataclass(frozen=True)
class Model:
    """A configuration and its finished runs, one a seed."""

    number: int
    label: str
    outcomes: Outcomes

    @property
    def configuration(self) -> CnnConfiguration:
        """What was trained; a trial's is in its summary."""
        first = self.outcomes[0]
        trained = first.training.model_dump()
        if isinstance(first.training, TrialTraining):
            trained = first.summary["configuration"]
        return CnnConfiguration.model_validate(
            {name: trained[name] for name in CnnConfiguration.model_fields}
        )

    @property
    def has_curves(self) -> bool:
        """Whether an epoch has ended; a trial can diverge before."""
        return all(outcome.history for outcome in self.outcomes)

    def values(self, figure: str) -> list[float]:
        """A figure of each run."""
        if figure.endswith("_last_epoch"):
            return shared.values_of(self.outcomes, "last", figure.removesuffix("_last_epoch"))
        return shared.values_of(self.outcomes, figure)

    def mean(self, figure: str) -> float:
        """A figure's mean over the seeds."""
        return fmean(self.values(figure))

    def describe(self) -> str:
        """The configuration in one line."""
        return shared.describe_configuration(self.configuration)


class Q2Figures(Published):
    """Table 3 and what the report says of it."""

    columns: list[str]
    rows: list[list[Any]]
    statements: dict[str, Any]

    def row(self, number: int) -> dict[str, float]:
        """The figures of a model."""
        row = next(row for row in self.rows if row[0] == number)
        return dict(zip(self.columns, row, strict=True))


def make_comparisons(
    preset: Preset,
    spec: CommonSpec,
    models: Sequence[Model],
    table_3: Sequence[CnnConfiguration],
) -> dict[int, dict[str, Comparison]]:
    """For each configuration that is one of table 3: its figures beside the published ones.

    The report tests the weights of the last epoch (erratum 1), so its test figures stand beside
    ours of the best epoch and of the last one. By the number of the model here.
    """
    published = require_published("q2", Q2Figures)
    barred = shared.say_incomparable(preset, spec, exclude=("models", "grid"))
    by_configuration = {row: number for number, row in enumerate(table_3, start=1)}
    return {
        model.number: _compare_model(model, row, published.row(row), barred)
        for model in models
        if (row := by_configuration.get(model.configuration)) is not None
    }


def _compare_model(
    model: Model, row: int, published: Mapping[str, float], barred: str | None
) -> dict[str, Comparison]:
    beside = shared.make_comparer(f"q2.model_{row}", barred)
    comparisons: dict[str, Comparison] = {}
    for figure in (*FIGURES, *LAST_FIGURES):
        theirs = published[figure.removesuffix("_last_epoch")]
        errata = _list_errata(row, figure, model.configuration.optimiser.name)
        misprint = "the published figure is a misprint" if (row, figure) in _MISPRINTS else None
        comparisons[figure] = beside(
            figure, theirs, model.values(figure), *errata, incomparable=misprint or barred
        )
    return comparisons


def _list_errata(row: int, figure: str, optimiser: str) -> list[int]:
    errata = [1] if figure.startswith("test") else []
    if figure.startswith("train_accuracy"):
        errata.append(21)
    errata += [
        erratum for marks in (_MISPRINTS, _DOUBTFUL) if (erratum := marks.get((row, figure)))
    ]
    if optimiser == "Adam":
        errata.append(_ADAM_DECAY)
    if optimiser == "AdamW":
        errata.append(_DECOUPLED)
    return sorted({*errata, 22})


def tabulate_table_3(
    models: Sequence[Model], comparisons: Mapping[int, Mapping[str, Comparison]], qualifier: str
) -> list[Table]:
    """Table 3, ours below each published row; nothing where no configuration is one of it."""
    if not comparisons:
        return []
    rows: list[list[Cell]] = []
    for model in models:
        if model.number in comparisons:
            rows += _tell_beside(model, comparisons[model.number])
    flat = [c for found in comparisons.values() for c in found.values()]
    return [
        Table(
            name="table_3",
            title=f"Table 3 beside the published{qualifier}",
            columns=["model", "configuration", "whose", *FIGURES, *LAST_FIGURES],
            rows=rows,
            note=" ".join([
                "Figures of the epoch with the lowest validation loss.",
                "The report's code tests the last epoch's weights: its test figures stand twice.",
                "Weight decay is an L2 penalty with SGD and decoupled with AdamW (erratum 30).",
                *shared.say_reasons(flat),
            ]),
        )
    ]  # fmt: skip


def _tell_beside(model: Model, found: Mapping[str, Comparison]) -> list[list[Cell]]:
    """Published, ours, our deviation where there is one, and the verdicts."""
    names = (*FIGURES, *LAST_FIGURES)
    several = len(model.outcomes) > 1
    lines: dict[str, list[Cell]] = {
        "published": [found[name].published for name in names],
        "ours": [model.mean(name) for name in names],
    }
    if several:
        lines["deviation"] = [spread(model.values(name)).std for name in names]
        lines["verdict"] = [found[name].verdict.replace("_", " ") for name in names]
    return [
        [model.number, model.describe() if whose == "published" else None, whose, *cells]
        for whose, cells in lines.items()
    ]


def tabulate_models(models: Sequence[Model], qualifier: str) -> Table:
    """A row a configuration: what it is, and its figures' means and deviations."""
    rows: list[list[Cell]] = []
    for model in models:
        row: list[Cell] = [model.number, *_tell_configuration(model.configuration)]
        for name in FIGURES:
            values = model.values(name)
            row += [fmean(values), spread(values).std if len(values) > 1 else None]
        rows.append([*row, fmean(model.values("best_epoch")), fmean(model.values("epochs"))])
    figures = [column for name in FIGURES for column in (name, f"{name}_std")]
    return Table(
        name="models",
        title=f"Each configuration{qualifier}",
        columns=["model", *_CONFIGURATION, *figures, "best_epoch", "epochs"],
        rows=rows,
        note="Figures of the epoch with the lowest validation loss; means over the seeds.",
    )


_CONFIGURATION = (
    "conv_layers", "dense_layers", "optimiser", "learning_rate", "weight_decay", "batch_size",
    "further",
)  # fmt: skip


def _tell_configuration(configuration: CnnConfiguration) -> list[Cell]:
    model, optimiser = configuration.model, configuration.optimiser
    return [
        model.conv_layers, model.dense_layers, optimiser.name, optimiser.learning_rate,
        optimiser.weight_decay, configuration.batch_size,
        shared.describe_departures(configuration) or None,
    ]  # fmt: skip


def tabulate_choice(models: Sequence[Model], qualifier: str) -> Table:
    """What each rule of choice takes, by validation alone, and what the test set says of it."""
    by_test = sorted(models, key=lambda model: -model.mean("test_accuracy"))
    rows: list[list[Cell]] = []
    for rule, chosen in choose(models).items():
        rows.append([
            rule, chosen.number, chosen.describe(), chosen.mean("val_loss"),
            chosen.mean("val_accuracy"), chosen.mean("test_loss"), chosen.mean("test_accuracy"),
            by_test.index(chosen) + 1,
        ])  # fmt: skip
    best = by_test[0].mean("test_accuracy")
    return Table(
        name="choice",
        title=f"The choice by validation, and what the test set says of it{qualifier}",
        columns=["rule", "model", "configuration", "val_loss", "val_accuracy", "test_loss",
                 "test_accuracy", "rank_in_test"],
        rows=rows,
        note=f"The highest test accuracy of all {len(models)} is {best:.4f}; "
        "it had no part in the choice.",
    )  # fmt: skip


def choose(models: Sequence[Model]) -> dict[str, Model]:
    """The best configuration by each rule; the first of equals."""
    return {
        "lowest validation loss": min(models, key=lambda model: model.mean("val_loss")),
        "highest validation accuracy": max(models, key=lambda model: model.mean("val_accuracy")),
    }


def tabulate_statements(
    models: Sequence[Model], comparisons: Mapping[int, Mapping[str, Comparison]], qualifier: str
) -> list[Table]:
    """What the report says of its table, beside what ours says; only where all of it was run."""
    published = require_published("q2", Q2Figures)
    if len(comparisons) < len(published.rows):
        return []
    theirs = published.statements
    ranks: list[tuple[str, Cell, Callable[[Model], float]]] = [
        ("highest validation accuracy", theirs["highest_val_accuracy"]["model"],
         lambda model: -model.mean("val_accuracy")),
        ("lowest validation loss", theirs["lowest_val_loss"]["model"],
         lambda model: model.mean("val_loss")),
        ("lowest test loss", " and ".join(map(str, theirs["lowest_test_loss"]["models"])),
         lambda model: model.mean("test_loss")),
        ("highest test accuracy", theirs["highest_test_accuracy"]["model"],
         lambda model: -model.mean("test_accuracy")),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [statement, model, min(models, key=key).number] for statement, model, key in ranks
    ]
    rows.append(["epochs of model 2 until its best", theirs["model_2_epochs"],
                 _mean_of(models, 2, "best_epoch")])  # fmt: skip
    rows.append(["epochs of model 3, 300 at most", theirs["model_3_reached_max_epochs"],
                 _mean_of(models, 3, "epochs")])  # fmt: skip
    return [
        Table(
            name="statements",
            title=f"What is said of the table{qualifier}",
            columns=["statement", "published", "ours"],
            rows=rows,
            note="Models by their numbers in table 3; ours by the means over the seeds.",
        )
    ]


def _mean_of(models: Sequence[Model], number: int, figure: str) -> Cell:
    return next((model.mean(figure) for model in models if model.number == number), None)


def tabulate_trials(models: Sequence[Model], qualifier: str) -> Table:
    """A row a trial, validation figures alone: the test set has no part in a search."""
    rows: list[list[Cell]] = []
    for model in models:
        summary = model.outcomes[0].summary
        figures: list[Cell] = [None] * 4
        if model.has_curves:
            figures = [summary[name] for name in
                       ("val_loss", "val_accuracy", "best_epoch", "epochs")]  # fmt: skip
        end = "diverged" if summary.get("diverged") else shared.say_end(summary)
        rows.append([model.number, *_tell_configuration(model.configuration), end, *figures])
    return Table(
        name="trials",
        title=f"Each trial{qualifier}",
        columns=["trial", *_CONFIGURATION, "ended_by", "val_loss", "val_accuracy", "best_epoch",
                 "epochs"],
        rows=rows,
    )  # fmt: skip
