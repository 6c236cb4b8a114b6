"""What the questions' files share: words for titles, comparisons, curves, tables.

Legend: an outcome is a finished run; the outcomes of one configuration differ by their seeds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import BaseModel

from fmx_ml.data.classes import classes_of
from fmx_ml.plots.recipes import Confusion, Curve, Curves
from fmx_ml.questions import Cell, Drawing, MisfitError, Numbers
from fmx_ml.results import Comparison, RunOutcome, Table, compare, spread
from fmx_ml.sinks import EpochMetrics
from fmx_ml.specs import (
    CnnConfiguration,
    CnnSpec,
    CommonSpec,
    Dataset,
    Half,
    MlpSpec,
    OptimiserSpec,
    OwnDataset,
    Preset,
    name_of,
)
from fmx_ml.trainings import CnnTraining

Outcomes = Sequence[RunOutcome]

DECIMALS = 4  # of the accuracies and losses in the report's tables
INTERVAL_NOTE = "The interval is where one more run of ours lies with 95% probability."

# What only scatters the figures, or says where they are made.
_SCATTER = {"seeds", "device", "split_seed", "dataset"}


def qualify(preset: Preset, spec: CommonSpec) -> str:
    """What every title must say where the figures are not those of the report's experiment."""
    words = []
    if spec.dataset != "fashion-mnist":
        words.append("synthetic data" if spec.dataset == "synthetic" else spec.dataset)
    if preset == "quick":
        words.append("quick preset")
    return f" ({', '.join(words)})" if words else ""


def say_incomparable(
    preset: Preset, spec: CommonSpec, *, exclude: Iterable[str] = ()
) -> str | None:
    """Why the published figures can't be compared with this spec's, if they can't.

    `exclude` names fields that do not bear on the figures in question, or all that lie in them.
    """
    reasons: list[str] = []
    if preset != "report":
        reasons.append(f"the preset is {preset}")
    if spec.dataset != "fashion-mnist":
        reasons.append(f"the data set is {spec.dataset}")
    ours, theirs = flatten(spec), flatten(type(spec)())
    fields = [
        name
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
        and not any(name == left or name.startswith(f"{left}.") for left in (*_SCATTER, *exclude))
    ]
    if fields:
        reasons.append(f"the spec differs from the report's in {', '.join(fields)}")
    return "; ".join(reasons) or None


def flatten(value: BaseModel, place: str = "") -> dict[str, Any]:
    """The fields of a value and of the values in it, by dotted name."""
    flat: dict[str, Any] = {}
    for name in type(value).model_fields:
        part = getattr(value, name)
        if isinstance(value, CnnSpec) and name == "channels":
            part = value.filters  # what is left out means the report's
        elif isinstance(value, CnnSpec) and name == "padding":
            part = value.pads
        if isinstance(part, BaseModel):
            flat |= flatten(part, f"{place}{name}.")
        else:
            flat[f"{place}{name}"] = part
    return flat


def name_data(dataset: Dataset, half: Half | None = None) -> str:
    """The data set and the half of its classes, as a title has it."""
    known = {"fashion-mnist": "Fashion-MNIST", "synthetic": "synthetic data"}
    name = known.get(name_of(dataset), name_of(dataset))
    return f"{name}, {name_half(dataset, half)}" if half else name


def name_half(dataset: Dataset, half: Half) -> str:
    """A half of the classes; the report's names are for the report's halves."""
    if isinstance(dataset, OwnDataset):
        return "first half" if half == "fm1" else "second half"
    return half


def check_outputs(place: str, model: MlpSpec, dataset: Dataset, half: Half) -> None:
    """Raises MisfitError for a perceptron with fewer outputs than the half has classes."""
    num_outputs, num_classes = model.sizes[-1], len(classes_of(dataset, half))
    if num_outputs < num_classes:
        raise MisfitError(place, f"{num_outputs} outputs are too few for {num_classes} classes")


def name_cnn(model: CnnSpec, optimiser: OptimiserSpec, batch_size: int) -> str:
    """A configuration in one line."""
    return " · ".join(
        [
            f"{model.conv_layers} conv, {model.dense_layers} dense",
            name_optimiser(optimiser),
            f"batch {batch_size}",
        ]
    )


def name_optimiser(optimiser: OptimiserSpec) -> str:
    """An optimiser and what it was given."""
    decay = f", decay {optimiser.weight_decay:g}" if optimiser.weight_decay else ""
    momentum = f", momentum {optimiser.momentum:g}" if optimiser.momentum else ""
    return f"{optimiser.name} {optimiser.learning_rate:g}{momentum}{decay}"


def describe_configuration(configuration: CnnConfiguration) -> str:
    """A configuration in one line, with all that the report's networks do not have."""
    model, optimiser = configuration.model, configuration.optimiser
    line = name_cnn(model, optimiser, configuration.batch_size)
    departures = describe_departures(configuration)
    return f"{line} · {departures}" if departures else line


def describe_departures(configuration: CnnConfiguration) -> str:
    """What a configuration has beyond the report's knobs."""
    model, augmentation = configuration.model, configuration.augmentation
    plain = CnnSpec(conv_layers=model.conv_layers, dense_layers=model.dense_layers)
    words = [
        f"filters {'-'.join(map(str, model.filters))}" if model.filters != plain.filters else "",
        f"{model.kernel_size} x {model.kernel_size}"
        if model.kernel_size != plain.kernel_size
        else "",
        "padded" if model.pads and not plain.pads else "",
        "unpadded" if plain.pads and not model.pads else "",
        "batch norm" if model.batch_norm else "",
        f"dropout {model.dropout:g}" if model.dropout else "",
        configuration.schedule if configuration.schedule != "constant" else "",
        "flips" if augmentation.flip else "",
        f"shifts {augmentation.shift}" if augmentation.shift else "",
    ]
    return ", ".join(word for word in words if word)


def name_seeds(outcomes: Outcomes) -> str:
    """Which seed, or how many of them."""
    seeds = list(dict.fromkeys(outcome.training.seed for outcome in outcomes))
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"


def values_of(outcomes: Outcomes, *keys: str) -> list[float]:
    """A figure of each outcome's summary: its key, or the keys that lead to it."""
    return [_look_up(outcome.summary, keys) for outcome in outcomes]


def tell_spread(outcomes: Outcomes, *keys: str) -> list[Cell]:
    """Two cells: a figure's mean, and its deviation where there are several runs."""
    ours = spread(values_of(outcomes, *keys))
    return [ours.mean, ours.std if ours.n > 1 else None]


def _look_up(value: Any, keys: Sequence[str]) -> float:
    for key in keys:
        value = value[key]
    return value


def make_cnn_training(spec: CommonSpec, seed: int, **changes: Any) -> CnnTraining:
    """The training of a seed: those of the spec's fields that a training has, then the changes."""
    fields = {n: getattr(spec, n) for n in CnnTraining.model_fields if hasattr(spec, n)}
    told = {"dataset": spec.data, "seed": seed}
    return CnnTraining.model_validate({**fields, **told, **changes})


def make_configured_training(
    spec: CommonSpec, configuration: CnnConfiguration, seed: int, **changes: Any
) -> CnnTraining:
    """The training of a seed with a configuration's fields, the rest as in the spec."""
    fields = {n: getattr(configuration, n) for n in type(configuration).model_fields}
    return make_cnn_training(spec, seed, **fields, **changes)


def make_comparer(
    prefix: str, incomparable: str | None, decimals: int = DECIMALS
) -> Callable[..., Comparison]:
    """A `compare` for figures of one experiment: their ids begin alike and one reason bars all."""

    def beside(
        name: str,
        published: float | None,
        values: Sequence[float],
        *errata: int,
        decimals: int = decimals,
        incomparable: str | None = incomparable,
    ) -> Comparison:
        return compare(
            f"{prefix}.{name}", published, values,
            incomparable=incomparable, decimals=decimals, errata=errata,
        )  # fmt: skip

    return beside


def make_curves(outcomes: Outcomes, quantity: str) -> list[Curve]:
    """The curve of each outcome: loss or accuracy by epoch."""
    return [
        Curve(
            train=_column(outcome.history, f"train_{quantity}"),
            val=_column(outcome.history, f"val_{quantity}") or None,
            best_epoch=outcome.summary["best_epoch"],
        )
        for outcome in outcomes
    ]


def _column(history: Sequence[EpochMetrics], name: str) -> list[float]:
    values = [getattr(metrics, name) for metrics in history]
    return [value for value in values if value is not None]


def make_curve_numbers(outcomes: Outcomes, *quantities: str) -> Numbers:
    """The numbers behind curves, a row an epoch of each run."""
    columns = ["epoch", *(f"{part}_{name}" for name in quantities for part in ("train", "val"))]
    return Numbers(
        columns=["run", *columns],
        rows=[
            [outcome.name, *(getattr(metrics, column) for column in columns)]
            for outcome in outcomes
            for metrics in outcome.history
        ],
    )


def draw_curves_of(
    outcomes: Outcomes, *, number: str, quantity: str, qualifier: str, subtitle: str
) -> Drawing:
    """The figure of one quantity by epoch, of one configuration."""
    if len(outcomes) > 1:
        subtitle += " · bold: mean · dots: best epochs"
    title = f"Training and validation {quantity}{qualifier}"
    curves = make_curves(outcomes, quantity)
    recipe = Curves(title=title, subtitle=subtitle, quantity=quantity, curves=curves)
    name = f"figure-{number}-{quantity}"
    numbers = {name: make_curve_numbers(outcomes, quantity)}
    return Drawing(number=number, title=title, pictures={name: recipe}, numbers=numbers)


def draw_confusion_of(
    outcomes: Outcomes, *, number: str, names: Sequence[str], qualifier: str, subtitle: str
) -> Drawing:
    """Counts of one run, or their mean over the runs; each run's own counts are in the CSV."""
    matrices: list[list[list[int]]] = [outcome.summary["confusion"] for outcome in outcomes]
    mean = [
        [fmean(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)
    ]
    title = f"Test confusion matrix{qualifier}"
    if len(outcomes) > 1:
        subtitle += " · mean counts"
    cells: list[list[Cell]] = [
        [outcome.name, actual, predicted, count]
        for outcome, matrix in zip(outcomes, matrices, strict=True)
        for actual, row in zip(names, matrix, strict=True)
        for predicted, count in zip(names, row, strict=True)
    ]
    name = f"figure-{number}-confusion"
    return Drawing(
        number=number,
        title=title,
        pictures={name: Confusion(title=title, subtitle=subtitle, counts=mean, names=names)},
        numbers={name: Numbers(["run", "actual", "predicted", "count"], cells)},
    )


def tabulate_comparisons(
    name: str, title: str, rows: Mapping[str, Comparison], *notes: str
) -> Table:
    """A row a figure: published, ours with deviation and interval, verdict. Reasons go below."""
    cells: list[list[Cell]] = []
    for label, comparison in rows.items():
        ours, interval = comparison.ours, comparison.interval or (None, None)
        if ours is not None:
            std = ours.std if ours.n > 1 else None
            verdict = comparison.verdict if comparison.published is not None else None
            cells.append([label, comparison.published, ours.mean, std, *interval, verdict])
    return Table(
        name=name,
        title=title,
        columns=["figure", "published", "mean", "std", "low", "high", "verdict"],
        rows=cells,
        note=" ".join([INTERVAL_NOTE, *notes, *say_reasons(rows.values())]),
    )


def say_reasons(comparisons: Iterable[Comparison]) -> list[str]:
    """Why published figures were not compared, each reason once."""
    reasons = {c.reason for c in comparisons if c.published is not None and c.reason}
    return [f"Not compared: {reason}." for reason in sorted(reasons)]


def tabulate_classes(outcomes: Outcomes, title: str) -> Table:
    """Means and deviations over the runs; a figure with nothing to divide is left out of them."""
    rows: list[list[Cell]] = []
    for scores in zip(*(outcome.summary["per_class"] for outcome in outcomes), strict=True):
        row: list[Cell] = [scores[0]["class"]]
        for name in ("precision", "recall", "f1"):
            values = [score[name] for score in scores if score[name] is not None]
            row.append(fmean(values) if values else None)
            row.append(spread(values).std if len(values) > 1 else None)
        rows.append([*row, scores[0]["support"]])
    return Table(
        name="per_class",
        title=title,
        columns=[
            "class", "precision", "precision_std", "recall", "recall_std", "f1", "f1_std",
            "support",
        ],
        rows=rows,
        note="Of the best epoch's weights.",
    )  # fmt: skip


def tabulate_runs(outcomes: Outcomes, title: str, note: str | None = None) -> Table:
    """A row a run: how it ended, its best epoch's figures, what it took."""
    figures = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss",
               "test_accuracy"]  # fmt: skip
    return Table(
        name="runs",
        title=title,
        columns=["run", "seed", "epochs", "ended_by", "best_epoch", *figures,
                 "last_test_loss", "last_test_accuracy", "seconds", "device"],
        rows=[_tell_run(outcome, figures) for outcome in outcomes],
        note=note,
    )  # fmt: skip


def _tell_run(outcome: RunOutcome, figures: Sequence[str]) -> list[Cell]:
    summary: dict[str, Any] = outcome.summary
    last = summary["last"]
    return [
        outcome.name, outcome.training.seed, summary["epochs"], say_end(summary),
        summary["best_epoch"], *(summary[figure] for figure in figures),
        last["test_loss"], last["test_accuracy"], summary["seconds"], summary["device"],
    ]  # fmt: skip


def say_end(summary: Mapping[str, Any]) -> str:
    """What ended a training."""
    if summary.get("pruned"):
        return "pruned"
    return "converged" if summary["stopped_early"] else "max_epochs"


def group(outcomes: Iterable[RunOutcome], key: Callable[[RunOutcome], Any]) -> dict[Any, Outcomes]:
    """Outcomes by what the key says of each, in the order of their first."""
    groups: dict[Any, list[RunOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return dict(groups)
