"""A job's results on a terminal: its tables, ours beside the published, its figures, its errata."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fmx_client import types
from fmx_client.terminal.text import NONE, REAL_DATASET, cell, number, plain, signed
from fmx_client.terminal.views import new_table

_UNBOUNDED = 10_000  # columns of a terminal that is never too narrow
_VERDICT_STYLES = {"inside": "green", "outside": "red"}


def show_results(body: types.ResultsBody) -> RenderableType:
    """The tables of a job, its comparisons, its figures, its errata."""
    parts: list[RenderableType] = []
    if body.dataset != REAL_DATASET:
        parts += [warn_of(body.dataset), ""]
    for table in body.tables:
        parts += [_ResultTable(table), ""]
    if body.comparisons and not any({"published", "verdict"} <= {*t.columns} for t in body.tables):
        parts += [show_comparisons(body), ""]
    parts += [_figure(figure) for figure in body.figures]
    parts += ["", *(_erratum(erratum) for erratum in body.errata)] if body.errata else []
    return Group(*parts)


def _erratum(erratum: types.Erratum) -> Text:
    said = f"Erratum {erratum.number} ({erratum.where}): {erratum.says} {erratum.done}"
    return Text(plain(said), style="dim")


def warn_of(dataset: str) -> Text:
    """What must stand over figures that are not of the real data."""
    return Text(f"These figures are of the {plain(dataset)} data set, not of Fashion-MNIST.", "red")


class _ResultTable:
    """A table of the results without its empty columns; on its side where it is too wide."""

    def __init__(self, table: types.Table) -> None:
        self._table = table
        columns = zip(table.columns, *table.rows, strict=False)
        self._columns = [c for c in columns if any(value is not None for value in c[1:])]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        upright, lying = self._upright(), self._lying()
        free = options.update(max_width=_UNBOUNDED)
        widths = [Measurement.get(console, free, table).maximum for table in (upright, lying)]
        yield Text(plain(self._table.title), style="bold")
        yield lying if widths[0] > options.max_width >= widths[1] else upright
        if self._table.note:
            yield Text(plain(self._table.note), style="dim")

    def _upright(self) -> Table:
        names = [str(name) for name, *_ in self._columns]
        numbers = [n for n, *c in self._columns if not any(isinstance(v, str) for v in c)]
        shown = new_table(*names, numbers=list(map(str, numbers)))
        for row in zip(*(column[1:] for column in self._columns), strict=True):
            shown.add_row(*map(_result_cell, names, row))
        return shown

    def _lying(self) -> Table:
        heads = [str(value) for column in self._columns[:1] for value in column]
        shown = new_table(*heads, numbers=heads[1:])
        for name, *values in self._columns[1:]:
            cells = (_result_cell(str(name), value) for value in values)
            shown.add_row(cell(str(name).replace("_", " ")), *cells)
        return shown


def _result_cell(column: str, value: str | float | None) -> Text:
    if column != "verdict" or not isinstance(value, str):
        return cell(value)
    return cell(value.replace("_", " "), _VERDICT_STYLES.get(value, "dim"))


def show_comparisons(body: types.ResultsBody) -> RenderableType:
    """Ours beside the published; why two can't be compared stands below, once each."""
    title = "Ours beside the published"
    if body.dataset != REAL_DATASET:
        title += f" (dataset: {body.dataset})"
    columns = ("figure", "published", "ours", "difference", "runs", "verdict")
    table = new_table(*columns, numbers=columns[1:5])
    for comparison in body.comparisons:
        table.add_row(*_comparison(comparison))
    reasons: dict[str, list[str]] = {}
    for comparison in body.comparisons:
        if comparison.reason:
            reasons.setdefault(comparison.reason, []).append(_label(comparison))
    notes = [Text(plain(_note(reason, ids, body)), style="dim") for reason, ids in reasons.items()]
    return Group(Text(plain(title), style="bold"), table, *notes)


def _comparison(comparison: types.Comparison) -> list[Text]:
    ours, published = comparison.ours, comparison.published
    mean = None if ours is None else ours.mean
    shown = NONE if ours is None else number(ours.mean)
    if ours is not None and ours.n > 1:
        shown += f" ± {number(ours.std)}"
    difference = NONE
    if mean is not None and published is not None:
        difference = signed(mean - published)
    return [
        cell(_label(comparison)),
        cell(published),
        Text(shown, style="bold"),
        Text(difference),
        cell(None if ours is None else ours.n),
        _result_cell("verdict", comparison.verdict),
    ]


def _label(comparison: types.Comparison) -> str:
    """An id as words: `q1.accuracy.test_last_epoch` is accuracy test last epoch."""
    _, dot, rest = comparison.id.partition(".")
    return (rest if dot else comparison.id).replace(".", " ").replace("_", " ")


def _note(reason: str, ids: Sequence[str], body: types.ResultsBody) -> str:
    return reason if len(ids) == len(body.comparisons) else f"{', '.join(ids)}: {reason}"


def _figure(figure: types.Figure) -> Text:
    text = Text(f"{name_figure(figure)}  ")
    return text.append(plain(name_files(figure.artifacts)), style="dim")


def name_figure(figure: types.Figure) -> str:
    """What a figure is called; one that the report does not number has its title only."""
    title = plain(figure.title)
    return f"Figure {figure.number}: {title}" if figure.number.isdigit() else title


def name_files(paths: Sequence[str]) -> str:
    """The files of a figure, those that differ in their suffix in short: a.png .svg .csv."""
    stems: dict[str, list[str]] = {}
    for path in map(PurePosixPath, paths):
        stems.setdefault(str(path.with_suffix("")), []).append(path.suffix)
    return ", ".join(stem + " ".join(suffixes) for stem, suffixes in stems.items())
