"""Curves as plain drawings, for whoever runs no scripts: a line a run, all on one scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmx_store.curves import CURVE_COLUMNS, read_curves
from fmx_store.viewers import View

MAX_LINES = 20  # more can't be told apart without a script
WIDTH, HEIGHT = 600, 200  # of the drawing, in its own units
_POINTS = 60
_TITLES = {"val_loss": "Validation loss", "val_accuracy": "Validation accuracy"}

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Line:
    """A run's curve: where it goes, as SVG has it, and its last value."""

    name: str
    points: str
    last: float


@dataclass(frozen=True)
class Sketch:
    """The curves of one figure, and the range of values and epochs that they span."""

    title: str
    low: float
    high: float
    last_epoch: int
    lines: Sequence[Line]


def sketch_job(db: View, job_id: str) -> list[Sketch]:
    """Drawings of a job's validation figures, of those that it has. Raises NotFoundError."""
    heads, curves = read_curves(db, job_id, _POINTS)
    named = {head.name: curves.get(head.id, ()) for head in heads}
    sketches = (_sketch(title, _pick(named, column)) for column, title in _TITLES.items())
    return [sketch for sketch in sketches if sketch is not None]


def _pick(named: Mapping[str, Sequence[Sequence[Any]]], column: str) -> dict[str, Points]:
    """The epochs of each run that have a value in a column, with it."""
    place = CURVE_COLUMNS.index(column)
    picked = {
        name: [(row[0], row[place]) for row in rows if row[place] is not None]
        for name, rows in named.items()
    }
    return {name: points for name, points in picked.items() if points}


def _sketch(title: str, curves: Mapping[str, Points]) -> Sketch | None:
    if not curves:
        return None
    values = [value for points in curves.values() for _, value in points]
    low, high = min(values), max(values)
    last_epoch = max(points[-1][0] for points in curves.values())
    x_step = WIDTH / max(1, last_epoch - 1)
    y_step = HEIGHT / ((high - low) or 1.0)

    def place(epoch: int, value: float) -> str:
        return f"{(epoch - 1) * x_step:.1f},{(high - value) * y_step:.1f}"

    lines = [
        Line(name, " ".join(place(*point) for point in points), points[-1][1])
        for name, points in curves.items()
    ]
    return Sketch(title, low, high, last_epoch, lines)
