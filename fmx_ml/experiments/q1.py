"""Q1's tables, figures and comparisons, made of its finished runs (no torch).

The report's sections 1.3 to 1.5: figures 1 to 3 and table 2.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure as Drawing
from safetensors.numpy import load_file

from fmx_ml.data.classes import names_of
from fmx_ml.errors import StoppedError
from fmx_ml.files import MANIFEST_FILE, RESULTS_FILE, TEST_SET_FILE, write_csv, write_json
from fmx_ml.manifest import manifest
from fmx_ml.plots.confusion import draw_confusion
from fmx_ml.plots.curves import Curve, draw_curves
from fmx_ml.plots.samples import draw_samples
from fmx_ml.plots.style import save, styled
from fmx_ml.published import list_errata, require_q1
from fmx_ml.results import Comparison, Figure, Results, RunOutcome, Table, compare, spread
from fmx_ml.sinks import Sink
from fmx_ml.specs import Preset, Q1Spec

Outcomes = Sequence[RunOutcome]
Cell = str | int | float | None

_DECIMALS = 4  # of the accuracies in the report's table 2


def collate(
    preset: Preset,
    spec: Q1Spec,
    outcomes: Outcomes,
    sink: Sink,
    artifact_path: Callable[[str, str], Path],
) -> Results:
    """See fmx_ml.experiments.collate."""
    if not outcomes:
        raise ValueError("Q1 has no finished run to make tables of")
    sink.phase("figures")
    qualifier = _qualify(preset, spec)
    comparisons = make_comparisons(preset, spec, outcomes)
    with styled():
        figures = [
            _leave_curves("1", "loss", qualifier, spec, outcomes, sink),
            _leave_curves("2", "accuracy", qualifier, spec, outcomes, sink),
            _leave_confusion(qualifier, spec, outcomes, sink),
            _leave_samples(qualifier, spec, outcomes, sink, artifact_path),
        ]
    results = Results(
        kind="q1",
        preset=preset,
        dataset=spec.dataset,
        tables=make_tables(qualifier, comparisons, spec, outcomes),
        figures=figures,
        comparisons=[c for c in comparisons.values() if c.published is not None],
        errata=list_errata("q1"),
    )
    write_json(sink.path(RESULTS_FILE), results.model_dump(mode="json"))
    sink.artifact(RESULTS_FILE)
    write_json(sink.path(MANIFEST_FILE), manifest("q1", preset, spec, outcomes))
    sink.artifact(MANIFEST_FILE)
    return results


def make_comparisons(preset: Preset, spec: Q1Spec, outcomes: Outcomes) -> dict[str, Comparison]:
    """Our figures by the name of a table's row, each beside the published one where there is one.

    The report's loop tests the weights of the last epoch (erratum 1), so its test figure stands
    beside ours of the best and of the last epoch.
    """
    published = require_q1()
    summaries = [outcome.summary for outcome in outcomes]
    reason = _say_incomparable(preset, spec)

    def beside(
        name: str, figure: float | None, values: Iterable[float], errata: list[int], decimals: int
    ) -> Comparison:
        return compare(
            f"q1.{name}", figure, list(values),
            incomparable=reason, decimals=decimals, errata=errata,
        )  # fmt: skip

    def accuracy(
        name: str, figure: float | None, values: Iterable[float], *errata: int
    ) -> Comparison:
        return beside(f"accuracy.{name}", figure, values, [*errata, 22], _DECIMALS)

    accuracies = published.accuracy
    return {
        "training, counted while training": accuracy(
            "train", accuracies.train, (s["train_accuracy"] for s in summaries), 2, 21
        ),
        "training, best epoch's weights": accuracy(
            "train_best_weights", None, (s["best_weights_train_accuracy"] for s in summaries)
        ),
        "validation, best epoch": accuracy(
            "val", accuracies.val, (s["val_accuracy"] for s in summaries), 2
        ),
        "test, best epoch": accuracy(
            "test", accuracies.test, (s["test_accuracy"] for s in summaries), 1
        ),
        "test, last epoch": accuracy(
            "test_last_epoch", accuracies.test, (s["last"]["test_accuracy"] for s in summaries), 1
        ),
        "best epoch": beside(
            "best_epoch", published.best_epoch, (s["best_epoch"] for s in summaries), [5, 6, 22], 0
        ),
    }


def make_tables(
    qualifier: str, comparisons: dict[str, Comparison], spec: Q1Spec, outcomes: Outcomes
) -> list[Table]:
    """Accuracies beside the published, then precision and recall a class, then each run."""
    return [
        _tabulate_accuracies(qualifier, comparisons),
        _tabulate_classes(qualifier, outcomes),
        _tabulate_runs(qualifier, spec, outcomes),
    ]


def _tabulate_accuracies(qualifier: str, comparisons: dict[str, Comparison]) -> Table:
    rows: list[list[Cell]] = []
    for name, comparison in comparisons.items():
        ours, interval = comparison.ours, comparison.interval or (None, None)
        if ours is not None:
            std = ours.std if ours.n > 1 else None
            verdict = comparison.verdict if comparison.published is not None else None
            rows.append([name, comparison.published, ours.mean, std, *interval, verdict])
    reasons = {c.reason for c in comparisons.values() if c.published is not None and c.reason}
    notes = [
        "The interval is where one more run of ours lies with 95% probability.",
        "The report's code tests the last epoch's weights, so its one test figure stands twice.",
        *(f"Not compared: {reason}." for reason in sorted(reasons)),
    ]
    return Table(
        name="accuracies",
        title=f"Accuracies beside the published{qualifier}",
        columns=["figure", "published", "mean", "std", "low", "high", "verdict"],
        rows=rows,
        note=" ".join(notes),
    )


def _tabulate_classes(qualifier: str, outcomes: Outcomes) -> Table:
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
        title=f"Precision and recall on the test pictures{qualifier}",
        columns=[
            "class", "precision", "precision_std", "recall", "recall_std", "f1", "f1_std",
            "support",
        ],
        rows=rows,
        note="Of the best epoch's weights.",
    )  # fmt: skip


def _tabulate_runs(qualifier: str, spec: Q1Spec, outcomes: Outcomes) -> Table:
    figures = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss",
               "test_accuracy"]  # fmt: skip
    rows: list[list[Cell]] = []
    for outcome in outcomes:
        summary: dict[str, Any] = outcome.summary
        end = "converged" if summary["stopped_early"] else "max_epochs"
        last = summary["last"]
        rows.append([
            outcome.name, outcome.training.seed, summary["epochs"], end, summary["best_epoch"],
            *(summary[figure] for figure in figures),
            last["test_loss"], last["test_accuracy"], summary["seconds"], summary["device"],
        ])  # fmt: skip
    return Table(
        name="runs",
        title=f"Each run{qualifier}",
        columns=["run", "seed", "epochs", "ended_by", "best_epoch", *figures,
                 "last_test_loss", "last_test_accuracy", "seconds", "device"],
        rows=rows,
        note=f"Figures of the best epoch; at most {spec.max_epochs} epochs.",
    )  # fmt: skip


def _leave_curves(
    number: str, quantity: str, qualifier: str, spec: Q1Spec, outcomes: Outcomes, sink: Sink
) -> Figure:
    columns = ("epoch", f"train_{quantity}", f"val_{quantity}")
    rows = {
        outcome.name: [tuple(getattr(metrics, c) for c in columns) for metrics in outcome.history]
        for outcome in outcomes
    }
    curves = [
        Curve(
            train=[row[1] for row in rows[outcome.name]],
            val=[row[2] for row in rows[outcome.name]],
            best_epoch=outcome.summary["best_epoch"],
        )
        for outcome in outcomes
    ]
    subtitle = _describe(spec, outcomes)
    if len(curves) > 1:
        subtitle += " · bold: mean · dots: best epochs"
    title = f"Training and validation {quantity}{qualifier}"
    drawing = draw_curves(curves, title=title, subtitle=subtitle, quantity=quantity)
    name = f"figure-{number}-{quantity}"
    artifacts = _leave_drawing(drawing, name, sink)
    flat = [(run, *row) for run, run_rows in rows.items() for row in run_rows]
    write_csv(sink.path(f"{name}.csv"), ("run", *columns), flat)
    sink.artifact(f"{name}.csv")
    return Figure(number=number, title=title, artifacts=[*artifacts, f"{name}.csv"])


def _leave_confusion(qualifier: str, spec: Q1Spec, outcomes: Outcomes, sink: Sink) -> Figure:
    """Counts of one run, or their mean over the runs; each run's own counts are in the CSV."""
    names = names_of(spec.dataset, spec.half)
    matrices: list[list[list[int]]] = [outcome.summary["confusion"] for outcome in outcomes]
    mean = [
        [fmean(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)
    ]
    title = f"Test confusion matrix{qualifier}"
    subtitle = _describe(spec, outcomes) + (" · mean counts" if len(outcomes) > 1 else "")
    drawing = draw_confusion(mean, names, title=title, subtitle=subtitle)
    artifacts = _leave_drawing(drawing, "figure-3-confusion", sink)
    cells = [
        (outcome.name, actual, predicted, count)
        for outcome, matrix in zip(outcomes, matrices, strict=True)
        for actual, row in zip(names, matrix, strict=True)
        for predicted, count in zip(names, row, strict=True)
    ]
    table = "figure-3-confusion.csv"
    write_csv(sink.path(table), ("run", "actual", "predicted", "count"), cells)
    sink.artifact(table)
    return Figure(number="3", title=title, artifacts=[*artifacts, table])


def _leave_samples(
    qualifier: str,
    spec: Q1Spec,
    outcomes: Outcomes,
    sink: Sink,
    artifact_path: Callable[[str, str], Path],
) -> Figure:
    test_set = load_file(artifact_path(outcomes[0].name, TEST_SET_FILE))
    title = f"Pictures of each class{qualifier}"
    drawing = draw_samples(
        test_set["images"],
        test_set["labels"],
        names_of(spec.dataset, spec.half),
        title=title,
        subtitle=f"{_name_data(spec)} · the first test pictures",
    )
    return Figure(number="samples", title=title, artifacts=_leave_drawing(drawing, "samples", sink))


def _leave_drawing(drawing: Drawing, name: str, sink: Sink) -> list[str]:
    if sink.should_stop():
        raise StoppedError("stopped on request")
    artifacts = [f"{name}.png", f"{name}.svg"]
    for artifact in artifacts:
        save(drawing, sink.path(artifact))
        sink.artifact(artifact)
    return artifacts


def _qualify(preset: Preset, spec: Q1Spec) -> str:
    """What every title must say where the figures are not those of the report's experiment."""
    words = []
    if spec.dataset == "synthetic":
        words.append("synthetic data")
    if preset == "quick":
        words.append("quick preset")
    return f" ({', '.join(words)})" if words else ""


def _say_incomparable(preset: Preset, spec: Q1Spec) -> str | None:
    """Why the published figures can't be compared with this spec's, if they can't."""
    reasons: list[str] = []
    if preset != "report":
        reasons.append(f"the preset is {preset}")
    if spec.dataset != "fashion-mnist":
        reasons.append(f"the data set is {spec.dataset}")
    if fields := _differing_fields(_flatten(spec), _flatten(Q1Spec())):
        reasons.append(f"the spec differs from the report's in {', '.join(fields)}")
    return "; ".join(reasons) or None


def _flatten(spec: Q1Spec) -> dict[str, Any]:
    """All that decides what the figures should be, by dotted name; seeds only scatter them."""
    content = spec.model_dump(exclude={"seeds", "device", "split_seed", "dataset"})
    content["model"] |= {"channels": spec.model.filters, "padding": spec.model.pads}
    flat: dict[str, Any] = {}
    for name, value in content.items():
        inner: dict[str, Any] = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name}.{field}".rstrip("."): part for field, part in inner.items()}
    return flat


def _differing_fields(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    return [name for name, value in ours.items() if value != theirs[name]]


def _name_data(spec: Q1Spec) -> str:
    name = "Fashion-MNIST" if spec.dataset == "fashion-mnist" else "synthetic data"
    return f"{name}, {spec.half}"


def _describe(spec: Q1Spec, outcomes: Outcomes) -> str:
    model, optimiser = spec.model, spec.optimiser
    decay = f", decay {optimiser.weight_decay:g}" if optimiser.weight_decay else ""
    runs = f"seed {outcomes[0].training.seed}" if len(outcomes) == 1 else f"{len(outcomes)} seeds"
    return " · ".join([
        _name_data(spec),
        f"{model.conv_layers} conv, {model.dense_layers} dense",
        f"{optimiser.name} {optimiser.learning_rate:g}{decay}",
        f"batch {spec.batch_size}",
        runs,
    ])  # fmt: skip
