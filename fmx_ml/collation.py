"""A job's tables and figures: what its question makes of the runs, drawn and written (no torch)."""

from collections.abc import Iterator, Sequence

from fmx_ml.errors import StoppedError
from fmx_ml.files import MANIFEST_FILE, RESULTS_FILE, write_csv, write_json
from fmx_ml.manifest import manifest
from fmx_ml.plots.render import draw
from fmx_ml.plots.style import save
from fmx_ml.published import list_errata
from fmx_ml.questions import ArtifactPath, Drawing, Finished
from fmx_ml.requests import require_question
from fmx_ml.results import Figure, Results, RunOutcome, Table
from fmx_ml.sinks import Sink
from fmx_ml.specs import CommonSpec, Dataset, Preset, name_of
from fmx_ml.texts import format_markdown


def collate(
    kind: str,
    preset: Preset,
    spec: CommonSpec,
    outcomes: Sequence[RunOutcome],
    sink: Sink,
    artifact_path: ArtifactPath,
) -> Results:
    """Makes a job's tables and figures of its finished runs, and leaves them in the sink.

    Args:
        kind: the question.
        preset: which of its presets was asked.
        spec: the job's spec.
        outcomes: its finished runs, one at least, in the plan's order.
        sink: where the figures, tables, results.json and manifest.json go.
        artifact_path: where a run's artifact can be read.

    Raises:
        ValueError: there is no finished run.
        StoppedError: the sink asked to stop.
    """
    if not outcomes:
        raise ValueError(f"{kind} has no finished run to make tables of")
    sink.phase("figures")
    # A run that was taken from another job stands first, and may have learnt another data set.
    learnt: Iterator[Dataset] = (outcome.training.dataset for outcome in reversed(outcomes))
    spec = spec.told(next((one for one in learnt if name_of(one) == spec.dataset), None))
    job = Finished(preset=preset, spec=spec, outcomes=outcomes, artifact=artifact_path)
    made = require_question(kind).collate(job)
    results = Results(
        kind=kind,
        preset=preset,
        dataset=spec.dataset,
        tables=list(made.tables),
        figures=[_leave_drawing(drawing, sink) for drawing in made.drawings],
        comparisons=list(made.comparisons),
        errata=list_errata(kind),
    )
    for table in made.tables:
        _leave_table(table, sink)
    write_json(sink.path(RESULTS_FILE), results.model_dump(mode="json"))
    sink.artifact(RESULTS_FILE)
    write_json(sink.path(MANIFEST_FILE), manifest(kind, preset, spec, outcomes))
    sink.artifact(MANIFEST_FILE)
    return results


def _leave_drawing(drawing: Drawing, sink: Sink) -> Figure:
    """Writes each picture as PNG and SVG, and the numbers as CSV."""
    artifacts: list[str] = []
    for name, recipe in drawing.pictures.items():
        if sink.should_stop():
            raise StoppedError("stopped on request")
        figure = draw(recipe)
        for suffix in (".png", ".svg"):
            save(figure, sink.path(name + suffix))
            artifacts.append(name + suffix)
    for name, numbers in drawing.numbers.items():
        write_csv(sink.path(f"{name}.csv"), numbers.columns, numbers.rows)
        artifacts.append(f"{name}.csv")
    for artifact in artifacts:
        sink.artifact(artifact)
    return Figure(number=drawing.number, title=drawing.title, artifacts=artifacts)


def _leave_table(table: Table, sink: Sink) -> None:
    """Writes a table as CSV, JSON and Markdown."""
    stem = f"table-{table.name.replace('_', '-')}"
    write_csv(sink.path(f"{stem}.csv"), table.columns, table.rows)
    write_json(sink.path(f"{stem}.json"), table.model_dump(mode="json"))
    sink.path(f"{stem}.md").write_text(format_markdown(table), encoding="utf-8")
    for suffix in ("csv", "json", "md"):
        sink.artifact(f"{stem}.{suffix}")
