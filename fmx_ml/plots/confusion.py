"""A confusion matrix: the classes of the pictures down, what they were taken for across."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fmx_ml.plots.recipes import Confusion
from fmx_ml.plots.style import HEADER_INCHES, INK, MUTED, make_figure, place, shorten

_CELL_WIDTH, _CELL_HEIGHT = 0.9, 0.75
_LEFT, _RIGHT, _BOTTOM = 1.55, 1.0, 0.7  # inches for the names and the recalls
_MANY = 8  # classes from which on cells shrink
_SMALLEST = 0.45  # of a cell's size
_POINTS, _FEWEST_POINTS = 10.0, 6.0  # of a count
_LONG = 11  # letters, from which on names stand upright
_UPRIGHT = 0.6  # inches more below for such names
_GAMMA = 0.4  # so that a few errors show beside hundreds of hits
_DARK = 0.55  # of the colour scale; from there on figures are white


def draw_confusion(recipe: Confusion) -> Figure:
    """A square of K x K counts, coloured by their part of the row, with each row's recall."""
    counts, names = np.asarray(recipe.counts, dtype=float), shorten(recipe.names)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shrink = max(_SMALLEST, min(1, _MANY / len(names)))
    across, down = shrink * _CELL_WIDTH * len(names), shrink * _CELL_HEIGHT * len(names)
    stand = shrink < 1 or max(map(len, names)) > _LONG
    below = _BOTTOM + (_UPRIGHT if stand else 0)
    width, height = _LEFT + across + _RIGHT, HEADER_INCHES + down + below
    figure = make_figure(width, height, recipe.title, recipe.subtitle)
    axes = place(figure, _LEFT, below, across, down)
    _draw_cells(axes, counts, parts, max(_FEWEST_POINTS, shrink * _POINTS))
    axes.set_xticks(range(len(names)), names, rotation=90 if stand else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("actual", color=MUTED)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    recalls = axes.secondary_yaxis("right")
    recalls.set_yticks(range(len(names)), [f"{parts[i, i]:.1%}" for i in range(len(names))])
    recalls.tick_params(length=0)
    recalls.spines[:].set_visible(False)
    recalls.set_ylabel("recall", color=MUTED)
    return figure


def _draw_cells(
    axes: Axes, counts: NDArray[np.float64], parts: NDArray[np.float64], points: float
) -> None:
    scale = PowerNorm(_GAMMA, vmin=0, vmax=1)
    axes.imshow(parts, cmap="Blues", norm=scale, aspect="auto")
    for row, column in np.ndindex(*counts.shape):
        dark = scale(parts[row, column]) > _DARK
        axes.text(
            column, row, _format(float(counts[row, column])), ha="center", va="center",
            color="white" if dark else INK, fontweight="bold" if row == column else "normal",
            fontsize=points,
        )  # fmt: skip


def _format(count: float) -> str:
    return f"{count:.0f}" if count == round(count) else f"{count:.1f}"
