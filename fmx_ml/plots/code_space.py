"""Where an encoder puts the pictures: two numbers of each code, coloured by class.

Legend of shapes: N examples.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fmx_ml.plots.recipes import CodeSpace
from fmx_ml.plots.style import (
    CLASS_COLOURS,
    HEADER_INCHES,
    MUTED,
    PAGE_WIDTH,
    SMALL,
    make_figure,
    place,
    say_empty,
    shorten,
)

_HEIGHT = 6.4  # inches
_LEFT, _BOTTOM, _RIGHT = 0.8, 0.65, 1.65  # inches for axis labels and for the legend
_NAME_HEIGHT = 0.27  # inches of a class in the legend
_MARKERS = "osD^v<>pPX"  # a class's place has a shape as well as a colour
_INK_OF_POINTS = 30_000  # square points, shared by all dots
_LARGEST_DOT, _SMALLEST_DOT = 16.0, 3.0  # square points


def draw_code_space(recipe: CodeSpace) -> Figure:
    """A dot a picture, and a large marker at the median of each class."""
    tensors = load_file(recipe.path)
    codes_N2, labels_N = tensors["codes"], tensors["labels"]
    tall = max(_HEIGHT, HEADER_INCHES + _BOTTOM + _NAME_HEIGHT * (len(recipe.names) + 1))
    figure = make_figure(PAGE_WIDTH, tall, recipe.title, recipe.subtitle)
    width, height = PAGE_WIDTH - _LEFT - _RIGHT, tall - _BOTTOM - HEADER_INCHES
    axes = place(figure, _LEFT, _BOTTOM, width, height)
    axes.set_xlabel(recipe.x_label)
    axes.set_ylabel(recipe.y_label)
    if not len(codes_N2):
        say_empty(axes)
        return figure
    _draw_dots(axes, codes_N2, labels_N)
    handles = [
        _draw_median(axes, codes_N2[labels_N == label], label, name)
        for label, name in enumerate(shorten(recipe.names))
        if (labels_N == label).any()
    ]
    legend = axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, borderaxespad=0,
        labelspacing=0.8, title="median of", alignment="left",
    )  # fmt: skip
    legend.get_title().set(color=MUTED, fontsize=SMALL)
    return figure


def _draw_dots(axes: Axes, codes_N2: NDArray[np.float32], labels_N: NDArray[np.int64]) -> None:
    """In an order of chance, always the same, so that no class lies on top of the others."""
    order_N = np.random.default_rng(0).permutation(len(codes_N2))
    colours = np.array(CLASS_COLOURS)[labels_N[order_N] % len(CLASS_COLOURS)]
    size = float(np.clip(_INK_OF_POINTS / len(codes_N2), _SMALLEST_DOT, _LARGEST_DOT))
    axes.scatter(
        *codes_N2[order_N].T, s=size, c=colours.tolist(), alpha=0.45, linewidths=0, rasterized=True
    )


def _draw_median(axes: Axes, codes_N2: NDArray[np.float32], label: int, name: str) -> Line2D:
    x, y = np.median(codes_N2, axis=0)
    rounds, place = divmod(label, len(CLASS_COLOURS))
    colour, marker = CLASS_COLOURS[place], _MARKERS[(place + rounds) % len(_MARKERS)]
    (line,) = axes.plot(
        x, y, marker=marker, color=colour,
        markersize=10, markeredgecolor="white", markeredgewidth=1.3, linestyle="", label=name,
        clip_on=False, zorder=5,
    )  # fmt: skip
    return line
