"""The report as one HTML page: no script, nothing loaded, every picture in it."""

import base64
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fmx_ml.report.document import Cell, Document, Grid, Picture
from fmx_ml.report.pictures import arrange

# Letters side by side from which a table is set smaller, and on paper sideways.
_WIDTHS = {"widest": 150, "wider": 110, "wide": 84}
_GAP = 3  # letters between two columns
_LINE = 24  # letters of a long text that stand in one line
_SYMBOL = 2  # a verdict's symbol and the space after it


def render_html(document: Document) -> str:
    """The report as a page that is complete in itself; light or dark as its reader's screen."""
    return _environment().get_template("report.html").render(document=document, style=_read_style())


@cache
def _read_style() -> Markup:
    style = resources.files("fmx_ml.report") / "templates" / "report.css"
    return Markup(style.read_text(encoding="utf-8"))  # noqa: S704 - our own


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fmx_ml.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = cast("dict[str, Callable[..., Any]]", environment.filters)
    filters |= {
        "arrange": arrange,
        "css_string": _quote_css,
        "data_url": _make_data_url,
        "width_class": _classify_width,
    }
    return environment


def _make_data_url(picture: Picture) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"


def _quote_css(text: str) -> Markup:
    """A CSS string of any text: letters and digits as they are, all else by number."""
    quoted = "".join(c if c.isalnum() and c.isascii() else f"\\{ord(c):x} " for c in text)
    return Markup(f'"{quoted}"')  # noqa: S704 - nothing but letters, digits and numbers of letters


def _classify_width(grid: Grid) -> str:
    """The class of a table that is too wide for the ordinary type."""
    letters = _measure(grid)
    return next((name for name, least in _WIDTHS.items() if letters > least), "")


def _measure(grid: Grid) -> int:
    """The letters of a table's longest cells and heads side by side, long texts broken."""
    rows = [row for group in grid.groups for row in group.rows]
    total = 0
    for i, column in enumerate(grid.columns):
        longest = max((_count_letters(row[i]) for row in rows), default=0)
        head = max(map(len, column.heading.split()), default=0)
        total += max(head, min(longest, _LINE) if column.is_long else longest) + _GAP
    return total


def _count_letters(cell: Cell) -> int:
    if cell.verdict is not None:
        return len(cell.verdict.word) + _SYMBOL
    return sum(len(span.text) for span in cell.text)
