"""The tables of the command line."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fmx_client import types
from fmx_client.terminal.text import (
    NONE,
    cell,
    duration,
    moment,
    number,
    plain,
    signed,
    size,
    state,
)

_VERDICT_STYLES = {"inside": "green", "outside": "red"}
_LISTED_RUNS = 20


def _table(*columns: str, title: str | None = None, numbers: Sequence[str] = ()) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else Text(plain(title)),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        pad_edge=False,
    )
    for column in columns:
        table.add_column(
            Text(plain(column)), justify="right" if column in numbers else "left", overflow="fold"
        )
    return table


def _facts(pairs: Iterable[tuple[str, Text | str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value if isinstance(value, Text) else Text(plain(value)))
    return table


def _epochs(progress: types.Progress) -> str:
    return f"{progress.completed}/{progress.total}"


def jobs(items: Sequence[types.Job]) -> RenderableType:
    """Jobs, one a line."""
    if not items:
        return Text("no jobs", style="dim")
    table = _table("job", "kind", "preset", "name", "state", "epochs", "created")
    for job in items:
        table.add_row(
            Text(job.id, no_wrap=True),
            cell(job.kind),
            cell(job.preset),
            cell(job.name),
            state(job.state),
            _epochs(job.progress),
            Text(moment(job.created_at)),
        )
    return table


def job(job: types.Job, runs: Sequence[types.Run]) -> RenderableType:
    """One job and its runs."""
    facts = [
        ("job", job.id),
        ("kind", f"{job.kind}, preset {job.preset}"),
        ("state", _state_and_reason(job)),
        ("progress", _progress(job.progress)),
        ("created", moment(job.created_at)),
        ("started", moment(job.started_at)),
        ("finished", moment(job.finished_at)),
    ]
    if job.name:
        facts.insert(1, ("name", job.name))
    if job.tags:
        facts.append(("tags", ", ".join(job.tags)))
    if job.error and job.error.message:
        facts.append(("error", Text(plain(job.error.message), style="red")))
    if job.models:
        facts.append(("models", ", ".join(job.models)))
    return Group(_facts(facts), *([_runs(runs)] if runs else []))


def _state_and_reason(job: types.Job) -> Text:
    said = state(job.state)
    return said.append(f" ({plain(job.reason)})") if job.reason else said


def _progress(progress: types.Progress) -> str:
    left = f", {duration(progress.eta_seconds)} left" if progress.eta_seconds else ""
    return f"{plain(progress.phase)}, {_epochs(progress)} {plain(progress.unit)}s{left}"


def _runs(items: Sequence[types.Run]) -> RenderableType:
    table = _table("run", "state", "phase", "epochs", "attempt", "model")
    for run in items[:_LISTED_RUNS]:
        table.add_row(
            cell(run.name),
            state(run.state),
            cell(run.progress.phase),
            _epochs(run.progress),
            str(run.attempt),
            cell(run.model),
        )
    more = len(items) - _LISTED_RUNS
    return Group(table, Text(f"and {more} more runs", style="dim")) if more > 0 else table


def results(body: types.ResultsBody) -> RenderableType:
    """The tables of a job, its comparisons, its figures, its errata."""
    parts: list[RenderableType] = [warning(body.dataset)] if body.dataset == "synthetic" else []
    parts += [_result_table(table) for table in body.tables]
    if body.comparisons:
        parts.append(comparisons(body))
    parts += [_figure(figure) for figure in body.figures]
    parts += [
        Text(plain(f"Erratum {e.number} ({e.where}): {e.says} {e.done}"), style="dim")
        for e in body.errata
    ]
    return Group(*parts)


def warning(dataset: str) -> Text:
    """What must stand over figures that are not of the real data."""
    return Text(f"These figures are of the {plain(dataset)} data set, not of Fashion-MNIST.", "red")


def _result_table(table: types.Table) -> RenderableType:
    numbers = [
        name
        for i, name in enumerate(table.columns)
        if all(i < len(row) and not isinstance(row[i], str) for row in table.rows)
    ]
    shown = _table(*table.columns, title=table.title, numbers=numbers)
    for row in table.rows:
        shown.add_row(*(cell(value) for value in row))
    return Group(shown, Text(plain(table.note), style="dim")) if table.note else shown


def comparisons(body: types.ResultsBody) -> RenderableType:
    """Ours beside the published; why two can't be compared stands below, once each."""
    title = "ours beside the published"
    if body.dataset != "fashion-mnist":
        title += f" (dataset: {body.dataset})"
    columns = ("figure", "published", "ours", "difference", "runs", "verdict")
    table = _table(*columns, title=title, numbers=columns[1:5])
    for comparison in body.comparisons:
        table.add_row(*_comparison(comparison))
    reasons: dict[str, list[str]] = {}
    for comparison in body.comparisons:
        if comparison.reason:
            reasons.setdefault(comparison.reason, []).append(_label(comparison))
    notes = [Text(plain(_note(reason, ids, body)), style="dim") for reason, ids in reasons.items()]
    return Group(table, *notes)


def _comparison(comparison: types.Comparison) -> list[Text]:
    ours, published = comparison.ours, comparison.published
    mean = None if ours is None else ours.mean
    shown = NONE if ours is None else number(ours.mean)
    if ours is not None and ours.n > 1:
        shown += f" ± {number(ours.std)}"
    difference = NONE
    if mean is not None and published is not None:
        difference = signed(mean - published)
    verdict = comparison.verdict.replace("_", " ")
    return [
        cell(_label(comparison)),
        cell(published),
        Text(shown, style="bold"),
        Text(difference),
        cell(None if ours is None else ours.n),
        cell(verdict, _VERDICT_STYLES.get(comparison.verdict, "dim")),
    ]


def _label(comparison: types.Comparison) -> str:
    """An id as words: `q1.accuracy.test_last_epoch` is accuracy test last epoch."""
    _, dot, rest = comparison.id.partition(".")
    return (rest if dot else comparison.id).replace(".", " ").replace("_", " ")


def _note(reason: str, ids: Sequence[str], body: types.ResultsBody) -> str:
    return reason if len(ids) == len(body.comparisons) else f"{', '.join(ids)}: {reason}"


def _figure(figure: types.Figure) -> Text:
    text = Text(f"{figure_title(figure)}  ")
    return text.append(plain("  ".join(figure.artifacts)), style="dim")


def figure_title(figure: types.Figure) -> str:
    """What a figure is called; one that the report does not number has its title only."""
    title = plain(figure.title)
    return f"Figure {figure.number}: {title}" if figure.number.isdigit() else title


def artifacts(items: Sequence[types.Artifact]) -> RenderableType:
    """Files, one a line."""
    if not items:
        return Text("no artifacts", style="dim")
    table = _table("path", "size", "type", "sha256", numbers=("size",))
    for artifact in items:
        table.add_row(
            cell(artifact.path),
            size(artifact.size_bytes),
            cell(artifact.media_type),
            Text(artifact.sha256[:12], style="dim"),
        )
    return table


def files(items: Sequence[tuple[types.Artifact, Path]]) -> RenderableType:
    """What was downloaded, and where it lies."""
    table = Table.grid(padding=(0, 2))
    for artifact, path in items:
        table.add_row(cell(str(path)), Text(size(artifact.size_bytes), style="dim"))
    return table


def models(items: Sequence[types.Model]) -> RenderableType:
    """Models, one a line."""
    if not items:
        return Text("no models", style="dim")
    numbers = ("validation", "test")
    table = _table("model", "run", "kind", "dataset", *numbers, "made", numbers=numbers)
    for model in items:
        table.add_row(
            Text(model.id, no_wrap=True),
            cell(model.run_name),
            cell(model.kind),
            cell(model.dataset),
            cell(model.val_accuracy),
            cell(model.test_accuracy),
            Text(moment(model.created_at)),
        )
    return table


def kinds(items: Sequence[types.Kind]) -> RenderableType:
    """Kinds, one a line."""
    return _facts((kind.kind, kind.title) for kind in items)


def kind(kind: types.Kind) -> RenderableType:
    """One kind: what it is, its presets and the fields of its spec."""
    parts: list[RenderableType] = [Text(plain(f"{kind.kind}: {kind.title}"), style="bold")]
    if kind.description:
        parts.append(Text(plain(kind.description)))
    spec = (kind.defaults or {}).get("spec")
    if isinstance(spec, dict):
        table = _table("spec field", "default")
        for path, value in _leaves(spec):
            table.add_row(cell(path), cell(None if value is None else str(value)))
        parts.append(table)
    for name, overrides in (kind.presets or {}).items():
        changed = ", ".join(f"{path} = {value}" for path, value in _leaves(overrides))
        parts.append(Text(plain(f"preset {name}: {changed or 'the defaults'}")))
    return Group(*parts)


def _leaves(value: dict[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType] - JSON
        else:
            yield f"{prefix}{key}", inner


def predictions(items: Sequence[types.Prediction], names: Sequence[str]) -> RenderableType:
    """What a model says of each picture; `names` says which they are."""
    tested = any(p.actual is not None for p in items)
    columns = ["picture", "label", "probability", "next"]
    table = _table(*columns, *(["is"] if tested else []), numbers=("probability",))
    for name, prediction in zip(names, items, strict=False):
        row = [cell(name), cell(prediction.label, "bold"), Text(f"{prediction.probability:.4f}")]
        row.append(_next_best(prediction))
        if tested:
            right = prediction.actual == prediction.label
            row.append(cell(prediction.actual, "green" if right else "red"))
        table.add_row(*row)
    inverted = [n for n, p in zip(names, items, strict=False) if p.inverted]
    note = f"light background, so inverted: {', '.join(inverted)}"
    return Group(table, *([Text(plain(note), style="dim")] if inverted else []))


def _next_best(prediction: types.Prediction) -> Text:
    others = {k: v for k, v in prediction.probabilities.items() if k != prediction.label}
    if not others:
        return cell(None)
    label = max(others, key=lambda name: others[name])
    return Text(f"{plain(label)} {others[label]:.4f}", style="dim")
