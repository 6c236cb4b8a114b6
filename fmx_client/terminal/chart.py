"""Curves on a terminal: eight dots a character (braille), one colour a curve."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

from fmx_client.terminal.text import number, plain

STYLES = ("cyan", "yellow", "magenta", "green", "blue", "red")

_HEIGHT = 14  # characters
_WIDEST = 100
_NARROWEST = 20
_DOTS_ACROSS, _DOTS_DOWN = 2, 4  # of one character
_BLANK = 0x2800
# Of the dot in each column (2) and row (4) of a character: Unicode's own numbering of braille.
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True)
class Line:
    """A curve: its name, its colour, and its points from left to right."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """The values at the edges of a chart."""

    left: float
    right: float
    bottom: float
    top: float

    def place(self, point: tuple[float, float], across: int, down: int) -> tuple[int, int]:
        """The column and row, from the top, of the dot that stands for a point."""
        x = (point[0] - self.left) / ((self.right - self.left) or 1)
        y = (point[1] - self.bottom) / ((self.top - self.bottom) or 1)
        return round(x * (across - 1)), round((1 - y) * (down - 1))


def draw_chart(title: str, x_label: str, lines: Sequence[Line], width: int) -> Iterator[Text]:
    """The lines of text of a chart: title and names, the curves beside their scale, the x axis."""
    frame = _frame(lines)
    marks = [number(frame.top), number((frame.top + frame.bottom) / 2), number(frame.bottom)]
    margin = max(map(len, marks))
    across = max(_NARROWEST, min(width, _WIDEST) - margin - 2)
    yield _heading(title, lines)
    at = {0: marks[0], _HEIGHT // 2: marks[1], _HEIGHT - 1: marks[2]}
    for row, drawn in enumerate(_draw(lines, frame, across)):
        yield Text(f"{at.get(row, ''):>{margin}} ┤", style="dim").append_text(drawn)
    yield Text(f"{'':{margin}} └{'─' * across}", style="dim")
    first, last = f"{frame.left:g}", f"{frame.right:g} {x_label}"
    yield Text(f"{'':{margin}}  {first}{last:>{across - len(first)}}", style="dim")


def _frame(lines: Sequence[Line]) -> Frame:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    return Frame(min(xs), max(xs), min(ys), max(ys))


def _heading(title: str, lines: Sequence[Line]) -> Text:
    text = Text(plain(title), style="bold")
    for line in lines:
        text.append(f"  ━ {plain(line.label)}", style=f"not bold {line.style}")
    return text


def _draw(lines: Sequence[Line], frame: Frame, across: int) -> Iterator[Text]:
    """The rows of the drawing; where curves meet, the later one gives the colour."""
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for line in lines:
        for x, y in _dots(line, frame, across):
            place = x // _DOTS_ACROSS, y // _DOTS_DOWN
            bits, _ = cells.get(place, (0, ""))
            bit = _BITS[x % _DOTS_ACROSS][y % _DOTS_DOWN]
            cells[place] = bits | bit, line.style
    for row in range(_HEIGHT):
        text = Text()
        for column in range(across):
            bits, style = cells.get((column, row), (0, ""))
            text.append(chr(_BLANK + bits) if bits else " ", style=style)
        yield text


def _dots(line: Line, frame: Frame, across: int) -> Iterator[tuple[int, int]]:
    """The dots of a curve, with straight lines between its points."""
    size = across * _DOTS_ACROSS, _HEIGHT * _DOTS_DOWN
    places = [frame.place(point, *size) for point in line.points]
    yield from places[:1]
    for (x, y), (next_x, next_y) in pairwise(places):
        steps = max(abs(next_x - x), abs(next_y - y))
        for step in range(1, steps + 1):
            part = step / steps
            yield round(x + (next_x - x) * part), round(y + (next_y - y) * part)
