"""Curves drawn with braille characters: eight dots in each, one colour a curve."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")

# The dots of a braille character, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that are joined by a line of one style."""

    points: Sequence[Point]
    style: str


class Canvas:
    """Lines drawn with the dots of braille characters, two by four of them in each."""

    def __init__(self, columns: int, height: int, series: Sequence[Series]) -> None:
        """Draws the series, the later ones on top; one at least has a point."""
        self._columns, self._height = columns, height
        points = [point for each in series for point in each.points]
        self.first, self.last = min(x for x, _ in points), max(x for x, _ in points)
        self.lowest, self.highest = min(y for _, y in points), max(y for _, y in points)
        self._cells = [[0] * columns for _ in range(height)]
        self._styles = [[""] * columns for _ in range(height)]
        for each in series:
            self._draw(each)

    def _draw(self, series: Series) -> None:
        places = [self._place(point) for point in series.points]
        for start, end in itertools.pairwise(places if len(places) > 1 else places * 2):
            steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
            for step in range(steps + 1):
                x = start[0] + round((end[0] - start[0]) * step / steps)
                y = start[1] + round((end[1] - start[1]) * step / steps)
                self._dot(x, y, series.style)

    def _place(self, point: Point) -> tuple[int, int]:
        """The dot of a point, counted from the upper left."""
        across = (point[0] - self.first) / ((self.last - self.first) or 1)
        down = (self.highest - point[1]) / ((self.highest - self.lowest) or 1)
        return round(across * (2 * self._columns - 1)), round(down * (4 * self._height - 1))

    def _dot(self, x: int, y: int, style: str) -> None:
        self._cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
        self._styles[y // 4][x // 2] = style

    def lines(self) -> Iterator[Text]:
        """Each line of characters from the top."""
        for cells, styles in zip(self._cells, self._styles, strict=True):
            line = Text()
            for cell, style in zip(cells, styles, strict=True):
                line.append(chr(_BRAILLE + cell) if cell else " ", style=style)
            yield line
