"""A chart on a terminal: curves beside their scale, with their names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from fmx_client.terminal.canvas import Canvas, Point, Series
from fmx_client.terminal.text import number, plain

_HEIGHT = 14  # characters
_WIDEST = 100
_NARROWEST = 20


@dataclass(frozen=True)
class Line:
    """A curve: its name, its colour, and its points from left to right."""

    label: str
    style: str
    points: Sequence[Point]


def draw_chart(title: str, x_label: str, lines: Sequence[Line], width: int) -> Iterator[Text]:
    """The lines of text of a chart: title and names, the curves beside their scale, the x axis."""
    heights = [y for line in lines for _, y in line.points]
    low, high = min(heights), max(heights)
    marks = [number(high), number((high + low) / 2), number(low)]
    margin = max(map(len, marks))
    across = max(_NARROWEST, min(width, _WIDEST) - margin - 2)
    canvas = Canvas(across, _HEIGHT, [Series(line.points, line.style) for line in lines])
    yield _heading(title, lines)
    at = {0: marks[0], _HEIGHT // 2: marks[1], _HEIGHT - 1: marks[2]}
    for row, drawn in enumerate(canvas.lines()):
        yield Text(f"{at.get(row, ''):>{margin}} ┤", style="dim").append_text(drawn)
    yield Text(f"{'':{margin}} └{'─' * across}", style="dim")
    first, last = f"{canvas.first:g}", f"{canvas.last:g} {x_label}"
    yield Text(f"{'':{margin}}  {first}{last:>{across - len(first)}}", style="dim")


def _heading(title: str, lines: Sequence[Line]) -> Text:
    text = Text(plain(title), style="bold")
    for line in lines:
        text.append(f"  ━ {plain(line.label)}", style=f"not bold {line.style}")
    return text
