"""Small grey pictures on a terminal: two pixels a character, one above the other."""

from collections.abc import Sequence
from typing import TypeAlias

from rich.color import Color
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

Grey: TypeAlias = Sequence[Sequence[float]]  # rows of 0 to 255

SIDE = 28
_GAP = 2  # columns between pictures
_SMALLEST_SIDE = 10


def shrink(pixels: Grey, side: int) -> list[list[float]]:
    """The picture with so many pixels a side, each the mean of the area it covers."""
    weights = _shares(len(pixels), side)
    narrow = [[_mean(row, share) for share in weights] for row in pixels]
    columns = list(zip(*narrow, strict=True))
    return [[_mean(column, share) for column in columns] for share in weights]


def _shares(old: int, new: int) -> list[list[tuple[int, float]]]:
    """Which old pixels each new one covers, and which part of it each of them fills."""
    scale = old / new
    shares: list[list[tuple[int, float]]] = []
    for i in range(new):
        low, high = i * scale, (i + 1) * scale
        covered = range(int(low), min(old, int(high) + 1))
        parts = [(j, (min(high, j + 1) - max(low, j)) / scale) for j in covered]
        shares.append([(j, part) for j, part in parts if part > 0])
    return shares


def _mean(values: Sequence[float], share: list[tuple[int, float]]) -> float:
    return sum(values[j] * part for j, part in share)


def draw(pixels: Grey) -> Text:
    """The picture as half blocks: the upper pixel is the character's colour, the lower its back."""
    lines: list[Text] = []
    for y in range(0, len(pixels) - 1, 2):
        line = Text()
        for upper, lower in zip(pixels[y], pixels[y + 1], strict=True):
            line.append("▀", Style(color=_grey(upper), bgcolor=_grey(lower)))
        lines.append(line)
    return Text("\n").join(lines)


def _grey(value: float) -> Color:
    level = max(0, min(255, round(value)))
    return Color.from_rgb(level, level, level)


def draw_row(pictures: Sequence[tuple[Grey, RenderableType]], width: int) -> RenderableType:
    """Pictures with what stands below each, side by side, as large as the width allows."""
    room = (width + _GAP) // max(1, len(pictures)) - _GAP
    side = max(_SMALLEST_SIDE, min(SIDE, room)) // 2 * 2
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    for _ in pictures:
        grid.add_column(width=side)
    grid.add_row(*(Group(draw(shrink(pixels, side)), below) for pixels, below in pictures))
    return grid
