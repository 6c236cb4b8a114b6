"""The tables of the command line."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fmx_client import types
from fmx_client.terminal.text import (
    cell,
    duration,
    moment,
    plain,
    size,
    state,
)

_LISTED_RUNS = 20
_IDENTITIES = {"job", "model"}  # columns that are never cut


def new_table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """An empty table; columns named in `numbers` are aligned on the right."""
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
    )
    for column in columns:
        table.add_column(
            Text(plain(column.replace("_", " "))),
            justify="right" if column in numbers else "left",
            no_wrap=column in _IDENTITIES,
            overflow="fold",
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
    table = new_table("job", "kind", "preset", "name", "state", "epochs", "created")
    for job in items:
        table.add_row(
            Text(plain(job.id)),
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
    return Group(_facts(facts), *(["", _runs(runs)] if runs else []))


def _state_and_reason(job: types.Job) -> Text:
    said = state(job.state)
    return said.append(f" ({plain(job.reason)})") if job.reason else said


def _progress(progress: types.Progress) -> str:
    left = f", {duration(progress.eta_seconds)} left" if progress.eta_seconds else ""
    return f"{plain(progress.phase)}, {_epochs(progress)} {plain(progress.unit)}s{left}"


def _runs(items: Sequence[types.Run]) -> RenderableType:
    table = new_table("run", "state", "phase", "epochs", "attempt", "model")
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


def artifacts(items: Sequence[types.Artifact]) -> RenderableType:
    """Files, one a line."""
    if not items:
        return Text("no artifacts", style="dim")
    table = new_table("path", "size", "type", "sha256", numbers=("size",))
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
    table = new_table("model", "run", "dataset", *numbers, "made", numbers=numbers)
    for model in items:
        table.add_row(
            Text(plain(model.id)),
            cell(model.run_name),
            cell(model.dataset),
            cell(model.val_accuracy),
            cell(model.test_accuracy),
            Text(moment(model.created_at)),
        )
    return table


def aliases(items: Sequence[types.Alias]) -> RenderableType:
    """Aliases, one a line."""
    if not items:
        return Text("no aliases", style="dim")
    table = new_table("alias", "model", "since")
    for alias in items:
        since = Text(moment(alias.updated_at))
        table.add_row(cell(alias.name), Text(plain(alias.model)), since)
    return table


def datasets(items: Sequence[types.Dataset]) -> RenderableType:
    """Registered data sets, one a line."""
    if not items:
        return Text("no registered data sets", style="dim")
    numbers = ("classes", "to learn from", "to test with")
    table = new_table("data set", *numbers, "registered", numbers=numbers)
    for dataset in items:
        table.add_row(
            Text(plain(dataset.name)),
            cell(len(dataset.classes)),
            cell(sum(one.train for one in dataset.classes)),
            cell(sum(one.test for one in dataset.classes)),
            Text(moment(dataset.created_at)),
        )
    return table


def kinds(items: Sequence[types.Kind]) -> RenderableType:
    """Kinds, one a line."""
    return _facts((kind.kind, kind.title) for kind in items)


def kind(kind: types.Kind) -> RenderableType:
    """One kind: what it is, its presets and the fields of its spec."""
    parts: list[RenderableType] = [Text(plain(kind.title), style="bold")]
    if kind.description:
        parts.append(Text(plain(kind.description)))
    spec = (kind.defaults or {}).get("spec")
    if isinstance(spec, dict):
        table = new_table("spec field", "default")
        for path, value in leaves(spec):
            table.add_row(cell(path), cell(None if value is None else str(value)))
        parts += ["", table, ""]
    for name, overrides in (kind.presets or {}).items():
        changed = ", ".join(f"{path} = {value}" for path, value in leaves(overrides))
        parts.append(Text(plain(f"preset {name}: {changed or 'the defaults'}")))
    return Group(*parts)


def leaves(value: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """The values of an object and of those in it, each with its path."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from leaves(inner, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType] - JSON
        else:
            yield f"{prefix}{key}", inner


def predictions(items: Sequence[types.Prediction], names: Sequence[str]) -> RenderableType:
    """What a model says of each picture; `names` says which they are."""
    tested = any(p.actual is not None for p in items)
    columns = ["picture", "label", "probability", "next"]
    table = new_table(*columns, *(["is"] if tested else []), numbers=("probability",))
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
