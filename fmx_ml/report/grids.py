"""Tables of results, and comparisons with published figures, made ready to be set."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from fmx_ml.report import formats
from fmx_ml.report.document import Cell, Column, Grid, Note, RowGroup, Span, Text, Verdict
from fmx_ml.report.formats import DASH, DECIMALS, MINUS
from fmx_ml.results import Comparison, Spread, Table

VERDICTS = {
    "inside": Verdict("inside", "inside", "✓"),
    "outside": Verdict("outside", "outside", "✗"),
    "not_comparable": Verdict("not_comparable", "not compared", "○"),
}

Value = str | int | float | None

_LONG = 24  # letters of a text from which its column is broken into lines
_MAX_GROUP = 6  # rows that say their first cell once and are still read together
_MARKS = "abcdefghijklmnopqrstuvwxyz"
_NUMBER = re.compile(rf"{MINUS}?[\d,]+(?:\.(?P<decimals>\d+))?")
_NUMERIC = re.compile(rf"[{MINUS}-]?\d[\d.,]*(?: ± \d[\d.,]*)?(?: \(\d+\))?")  # also in a text


def plain(text: str) -> Text:
    """A text of one span."""
    return (Span(text),)


@dataclass(frozen=True)
class _Values:
    """A column of a table as it was given, with the deviations that belong to it."""

    name: str
    values: Sequence[Value]
    deviations: Sequence[Value] | None = None

    @property
    def texts(self) -> list[str]:
        """Its texts that are no verdicts."""
        return [v for v in self.values if isinstance(v, str) and _find_verdict(v) is None]

    @property
    def floats(self) -> list[float]:
        return [v for v in self.values if isinstance(v, float)]

    @property
    def is_numeric(self) -> bool:
        """Whether all that it holds are numbers, or texts and verdicts that stand for some."""
        if any(isinstance(v, int | float) for v in self.values):
            return all(len(text) < _LONG for text in self.texts)
        return bool(self.texts) and all(_NUMERIC.fullmatch(text) for text in self.texts)


def make_grid(anchor: str, label: str, table: Table) -> Grid:
    """A table of the results: words for names, as many digits as a figure bears.

    Columns without a value are left out; one of deviations joins the figures before it.
    """
    width = len(table.columns)
    rows = [[*row, *[None] * width][:width] for row in table.rows]
    row_names = [row[0] if row and isinstance(row[0], str) else "" for row in rows]
    columns = _join_deviations(table.columns, rows)
    cells = [_make_cells(column, row_names) for column in columns]
    return Grid(
        anchor=anchor,
        label=label,
        title=table.title,
        columns=tuple(map(_make_column, columns)),
        groups=_part(columns, tuple(zip(*cells, strict=True))),
        notes=(Note(plain(table.note)),) if table.note else (),
    )


def _join_deviations(names: Sequence[str], rows: Sequence[Sequence[Value]]) -> list[_Values]:
    joined: list[_Values] = []
    for i, name in enumerate(names):
        values = [row[i] for row in rows]
        if rows and all(value is None for value in values):
            continue
        if joined and name == f"{joined[-1].name}_std" and joined[-1].floats:
            joined[-1] = replace(joined[-1], deviations=values)
        else:
            joined.append(_Values(name, values))
    return joined


def _part(columns: Sequence[_Values], rows: Sequence[tuple[Cell, ...]]) -> tuple[RowGroup, ...]:
    """Neighbouring rows with equal first cells as groups; what these share is said once in each."""
    firsts = columns[0].values if columns else ()
    sizes = [len(list(members)) for _, members in groupby(firsts)]
    if not any(size > 1 for size in sizes) or max(sizes) > _MAX_GROUP:
        return (RowGroup(tuple(rows)),)
    groups: list[RowGroup] = []
    start = 0
    for size in sizes:
        members = slice(start, start + size)
        by_column = [
            _span(cells) if i == 0 or _is_said_once(columns[i], members) else cells
            for i, cells in enumerate(zip(*rows[members], strict=True))
        ]
        groups.append(RowGroup(tuple(zip(*by_column, strict=True))))
        start += size
    return tuple(groups)


def _is_said_once(column: _Values, rows: slice) -> bool:
    """Whether a column of text has a value in the first of some rows alone."""
    first, *further = column.values[rows]
    return not column.is_numeric and first is not None and not any(further)


def _span(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The first of the cells over all of their rows."""
    first, *further = cells
    return (replace(first, num_rows=len(cells)), *(Cell(num_rows=0) for _ in further))


def _make_column(column: _Values) -> Column:
    return Column(
        heading=formats.capitalise(formats.say_words(column.name)),
        is_numeric=column.is_numeric,
        is_long=not column.is_numeric and any(len(text) > _LONG for text in column.texts),
    )


def _make_cells(column: _Values, row_names: Sequence[str]) -> list[Cell]:
    decimals = DECIMALS
    if "published" in formats.split_words(column.name):
        decimals = formats.decimals_of(column.floats)
    is_whole = _holds_whole_numbers(column.floats)
    cells: list[Cell] = []
    for i, (value, row_name) in enumerate(zip(column.values, row_names, strict=True)):
        if isinstance(value, str) and (verdict := _find_verdict(value)):
            cells.append(Cell(verdict=verdict))
            continue
        text = _format_value(value, column.name, row_name, decimals, is_whole=is_whole)
        deviation = column.deviations[i] if column.deviations else None
        if isinstance(deviation, int | float):
            text = f"{text} ± {_format_deviation(deviation, column.name, decimals)}"
        cells.append(Cell(plain(text)))
    if column.deviations:
        return [_leave_room(cell, decimals) for cell in cells]
    return _align(cells) if column.is_numeric else cells


def _leave_room(cell: Cell, decimals: int) -> Cell:
    """A figure without a deviation, in line with those that have one."""
    text = "".join(span.text for span in cell.text)
    is_bare = _NUMBER.fullmatch(text) is not None
    return replace(cell, pad=f" ± {0:.{decimals}f}") if is_bare else cell


def _holds_whole_numbers(values: Sequence[float]) -> bool:
    """Whether these are counts that became floats: whole, and not all of them 0 or 1."""
    return all(v.is_integer() for v in values) and any(abs(v) > 1 for v in values)


def _format_value(value: Value, name: str, row_name: str, decimals: int, *, is_whole: bool) -> str:
    if value is None:
        return DASH
    if isinstance(value, str):
        return formats.say_cell(value)
    if formats.is_identity(name):
        return str(value)
    if formats.is_duration(name):
        return formats.format_duration(value)
    return _format_figure(value, name, row_name, decimals, is_whole=is_whole)


def _format_figure(value: float, name: str, row_name: str, decimals: int, *, is_whole: bool) -> str:
    may_count = float(value).is_integer() or abs(value) > 1
    if formats.counts_epochs(name) or (formats.counts_epochs(row_name) and may_count):
        return formats.format_epochs(value)
    if isinstance(value, float) and formats.is_chosen(name):
        return formats.format_chosen(value)
    if isinstance(value, int) or is_whole:
        return formats.format_whole(value)
    return formats.format_number(value, decimals)


def _format_deviation(value: float, name: str, decimals: int) -> str:
    """A deviation like the figure that it belongs to."""
    if formats.is_duration(name):
        return formats.format_duration(value)
    if formats.counts_epochs(name):
        return formats.format_epochs(value)
    return formats.format_deviation(value, decimals)


def _find_verdict(text: str) -> Verdict | None:
    return VERDICTS.get(text.replace(" ", "_"))


def _align(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a column with what their decimals lack to stand point below point."""
    decimals = [_count_decimals(cell) for cell in cells]
    most = max((d for d in decimals if d is not None), default=0)
    return [
        cell if d is None or d == most else replace(cell, pad=_make_pad(d, most))
        for cell, d in zip(cells, decimals, strict=True)
    ]


def _count_decimals(cell: Cell) -> int | None:
    """The decimals of a cell; None for one that is no plain number."""
    text = "".join(span.text for span in cell.text)
    if text == DASH:
        return 0
    found = _NUMBER.fullmatch(text)
    return len(found["decimals"] or "") if found else None


def _make_pad(decimals: int, most: int) -> str:
    return ("" if decimals else ".") + "0" * (most - decimals)


def tally(comparisons: Iterable[Comparison]) -> dict[str, int]:
    """How many comparisons have each verdict, in the order inside, outside, not comparable."""
    counts = dict.fromkeys(VERDICTS, 0)
    for comparison in comparisons:
        counts[comparison.verdict] += 1
    return counts


def link_errata(numbers: Iterable[int], known: Iterable[int]) -> Text:
    """Numbers of errata, each leading to its place in the appendix where it has one."""
    known = set(known)
    spans: list[Span] = []
    for number in sorted(set(numbers)):
        target = name_erratum(number) if number in known else None
        spans += [Span(", "), Span(str(number), target=target)]
    return tuple(spans[1:])


def name_erratum(number: int) -> str:
    """The anchor of an erratum."""
    return f"erratum-{number}"


def make_comparison_grid(
    anchor: str, label: str, kind: str, comparisons: Sequence[Comparison], errata: Iterable[int]
) -> Grid:
    """Each published figure beside ours: mean, deviation, runs, interval, verdict, errata.

    Ids that begin alike are a group; why some are not compared stands in notes below.
    """
    reasons = list(dict.fromkeys(c.reason for c in comparisons if c.reason))
    marks = {reason: _make_mark(i) for i, reason in enumerate(reasons)}
    if len(reasons) == 1 and all(c.reason for c in comparisons):
        marks = {reasons[0]: ""}
    known = set(errata)
    groups = [
        RowGroup(
            rows=tuple(
                _make_row(name, comparison, marks.get(comparison.reason or "", ""), known)
                for name, comparison in members
            ),
            heading=heading,
        )
        for heading, members in _group(kind, comparisons)
    ]
    return Grid(
        anchor=anchor,
        label=label,
        title="Each published figure beside ours",
        columns=_COMPARISON_COLUMNS,
        groups=_align_groups(groups),
        notes=tuple(Note(plain(f"Not compared: {r}."), mark) for r, mark in marks.items()),
    )


_COMPARISON_COLUMNS = (
    Column("Figure"),
    Column("Published", is_numeric=True),
    Column("Ours, mean", is_numeric=True),
    Column("± deviation", is_numeric=True),
    Column("Runs", is_numeric=True),
    Column("95% interval", is_numeric=True),
    Column("Verdict"),
    Column("Errata"),
)


def _make_mark(index: int) -> str:
    """A, b, …, z, aa, ab, …: in small letters."""
    more, last = divmod(index, len(_MARKS))
    return (_make_mark(more - 1) if more else "") + _MARKS[last]


def _group(
    kind: str, comparisons: Sequence[Comparison]
) -> list[tuple[str, list[tuple[str, Comparison]]]]:
    """Comparisons by the first word of their ids, where several neighbours share it."""
    named = [(comparison.id.removeprefix(f"{kind}.").split("."), comparison)
             for comparison in comparisons]  # fmt: skip
    groups: list[tuple[str, list[tuple[str, Comparison]]]] = []
    for first, members in groupby(named, key=lambda item: item[0][0]):
        found = list(members)
        is_group = len(found) > 1 and all(len(parts) > 1 for parts, _ in found)
        heading = formats.capitalise(formats.say_words(first)) if is_group else ""
        rows = [(_say_id(parts[1:] if is_group else parts), c) for parts, c in found]
        if groups and not heading and not groups[-1][0]:
            groups[-1][1].extend(rows)
        else:
            groups.append((heading, rows))
    return groups


def _say_id(parts: Sequence[str]) -> str:
    """An id in words: accuracy.test_last_epoch is Accuracy, test last epoch."""
    return formats.capitalise(", ".join(map(formats.say_words, parts)))


def _make_row(
    name: str, comparison: Comparison, mark: str, known: Iterable[int]
) -> tuple[Cell, ...]:
    ours, published = comparison.ours, comparison.published
    decimals = formats.decimals_of([published] if published is not None else [])

    def say(value: float | None, write: Callable[[float, int], str]) -> str:
        if value is None:
            return DASH
        if formats.counts_epochs(comparison.id):
            return formats.format_epochs(value)
        return write(value, decimals)

    interval = DASH
    if comparison.interval is not None:
        interval = " to ".join(say(end, formats.format_deviation) for end in comparison.interval)
    return (
        Cell(plain(name)),
        Cell(plain(say(published, formats.format_number))),
        Cell(plain(say(ours.mean if ours else None, formats.format_number))),
        Cell(plain(say(_deviation(ours), formats.format_deviation))),
        Cell(plain(str(ours.n) if ours else "0")),
        Cell(plain(interval)),
        Cell(verdict=VERDICTS[comparison.verdict], mark=mark),
        Cell(link_errata(comparison.errata, known) or plain(DASH)),
    )


def _deviation(ours: Spread | None) -> float | None:
    """One run has none."""
    return ours.std if ours is not None and ours.n > 1 else None


def _align_groups(groups: Sequence[RowGroup]) -> tuple[RowGroup, ...]:
    """Decimal points in line through all groups of a grid."""
    rows = [row for group in groups for row in group.rows]
    columns = [
        _align(cells) if column.is_numeric else cells
        for column, cells in zip(_COMPARISON_COLUMNS, zip(*rows, strict=True), strict=False)
    ]
    aligned = iter(list(zip(*columns, strict=True)))
    return tuple(replace(group, rows=tuple(next(aligned) for _ in group.rows)) for group in groups)


def make_plain_grid(
    anchor: str, label: str, title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]
) -> Grid:
    """A grid of texts that are ready."""
    cells = tuple(tuple(Cell(plain(text)) for text in row) for row in rows)
    return Grid(anchor, label, title, tuple(columns), (RowGroup(cells),))
