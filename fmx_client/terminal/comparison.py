"""Runs side by side on a terminal: tables of what differs, and a drawing of their curves."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from fmx_client.comparison import Compared, Row
from fmx_client.terminal.canvas import COLOURS
from fmx_client.terminal.chart import Line, draw_chart
from fmx_client.terminal.text import cell, plain
from fmx_client.terminal.views import new_table


def show_comparison(found: Compared) -> RenderableType:
    """Parameters that differ, final figures, curves."""
    parts: list[RenderableType] = []
    if found.differences:
        parts += [_table("parameter", found.labels, found.differences), ""]
    else:
        parts += [Text("no parameter differs", style="dim"), ""]
    if found.figures:
        parts += [_table("figure", found.labels, found.figures), ""]
    if found.curves:
        parts.append(_Curves(found))
    return Group(*parts)


def _table(head: str, labels: Sequence[str], rows: Sequence[Row]) -> RenderableType:
    table = new_table(head, numbers=labels)
    for number, label in enumerate(labels):
        table.add_column(
            Text(plain(label), style=COLOURS[number % len(COLOURS)]),
            justify="right",
            overflow="fold",
        )
    for row in rows:
        table.add_row(cell(row.name), *map(_cell, row.values))
    return table


def _cell(value: Any) -> Text:
    return cell(json.dumps(value) if isinstance(value, list | dict) else value)


class _Curves:
    """The curves of all runs on one axis, as wide as the console."""

    def __init__(self, found: Compared) -> None:
        self._found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        styles = {
            label: COLOURS[number % len(COLOURS)] for number, label in enumerate(self._found.labels)
        }
        lines = [Line(c.label, styles[c.label], c.points) for c in self._found.curves]
        title = self._found.metric.replace("_", " ")
        yield from draw_chart(title, "epoch", lines, options.max_width)
