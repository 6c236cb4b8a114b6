"""The filters of a convolution: rows of output channels, columns of input channels.

Legend of shapes: O I output and input channels, K a filter's side, H W pixels.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fmx_ml.plots.recipes import Filters
from fmx_ml.plots.style import (
    HEADER_INCHES,
    LAYOUT_DPI,
    MUTED,
    PAGE_WIDTH,
    RULE,
    SMALL,
    TRAIN_COLOUR,
    VAL_COLOUR,
    make_figure,
    place,
)
from fmx_ml.plots.tiles import lay_tiles, middles, strip

_COLOURS = LinearSegmentedColormap.from_list("weights", [TRAIN_COLOUR, "white", VAL_COLOUR])
_MAX_SIDE, _MIN_SIDE = 0.6, 0.12  # inches of a filter
_MAX_BLOCK_HEIGHT = 4.8  # inches, if the filters are not too many
_MAX_COLUMNS, _MAX_FILTERS = 40, 2400  # so that one can still be seen
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.2, 1.15, 0.5, 0.4  # inches; below the header input channels
_NUMBERS = 0.5  # inches left of a block, for the output channels
_ROW_STEP, _COLUMN_STEP = 0.14, 0.24  # inches from number to number at least
_MIN_BAR, _MAX_BAR = 0.5, 1.6  # inches of the bar of colours
_LEAST_LEFT = 1.8  # inches, so that the bar's name is clear of the channels'
_TALL = 1.1  # inches that a block needs beside "output channel"
_UNEVEN = 0.8  # what a last block with fewer rows is worth
_GAP = 1  # pixels between filters


@dataclass(frozen=True)
class _Layout:
    """Blocks side by side, each of so many rows; a filter's side in inches."""

    blocks: int
    rows: int
    side: float


def draw_filters(recipe: Filters) -> Figure:
    """Every filter in one scale: blue weighs below 0, white 0, orange above."""
    weights_OIKK = load_file(recipe.weights)[f"{recipe.layer}.weight"]
    shown_OIKK = _choose(weights_OIKK, recipe.per_channel)
    outputs, inputs = shown_OIKK.shape[:2]
    layout = _arrange(outputs, inputs)
    height = HEADER_INCHES + _TOP + max(layout.rows * layout.side, _MIN_BAR) + _BOTTOM
    figure = make_figure(PAGE_WIDTH, height, recipe.title, recipe.subtitle)
    scale = _scale(shown_OIKK)
    left = _LEFT
    for first in range(0, outputs, layout.rows):
        block_OIKK = shown_OIKK[first : first + layout.rows]
        across, down = inputs * layout.side, len(block_OIKK) * layout.side
        bottom = height - HEADER_INCHES - _TOP - down
        axes = place(figure, left + _NUMBERS, bottom, across, down)
        _draw_block(axes, block_OIKK, first, scale, layout.side)
        left += _NUMBERS + across
    _say_scale(figure, scale, max(left + 0.3, _LEAST_LEFT), height - HEADER_INCHES - _TOP)
    _describe(figure, weights_OIKK, shown_OIKK)
    return figure


def _choose(weights_OIKK: NDArray[np.float32], per_channel: int | None) -> NDArray[np.float32]:
    inputs = min(weights_OIKK.shape[1], per_channel or _MAX_COLUMNS, _MAX_COLUMNS)
    return weights_OIKK[: max(1, _MAX_FILTERS // inputs), :inputs]


def _arrange(outputs: int, inputs: int) -> _Layout:
    """The blocks that let filters be largest; of equally large ones the lower page."""
    width = PAGE_WIDTH - _LEFT - _RIGHT
    most = max(1, int(width / (_NUMBERS + inputs * _MIN_SIDE)))
    layouts: list[_Layout] = []
    for wanted in range(1, min(most, outputs) + 1):
        rows = -(-outputs // wanted)
        blocks = -(-outputs // rows)
        side = min(
            _MAX_SIDE,
            (width - blocks * _NUMBERS) / (blocks * inputs),
            max(_MIN_SIDE, _MAX_BLOCK_HEIGHT / rows),
        )
        layouts.append(_Layout(blocks, rows, side))
    return max(layouts, key=lambda x: (x.side * (_UNEVEN if outputs % x.rows else 1), x.blocks))


def _scale(weights_OIKK: NDArray[np.float32]) -> Normalize:
    """As far above 0 as below; weights that are all 0 still need a scale."""
    largest = float(np.abs(weights_OIKK).max()) or 1.0
    return Normalize(-largest, largest)


def _draw_block(
    axes: Axes, block_OIKK: NDArray[np.float32], first: int, scale: Normalize, side: float
) -> None:
    outputs, inputs, height, width = block_OIKK.shape
    sheet_HW = lay_tiles(block_OIKK, _GAP)
    axes.imshow(
        sheet_HW, cmap=_COLOURS.with_extremes(bad=RULE), norm=scale, interpolation="none",
        aspect="auto",
    )  # fmt: skip
    rows, columns = middles(outputs, height, _GAP), middles(inputs, width, _GAP)
    down, across = (max(1, ceil(step / side)) for step in (_ROW_STEP, _COLUMN_STEP))
    axes.set_yticks(rows[::down], [str(first + row + 1) for row in range(0, outputs, down)])
    axes.set_xticks(columns[::across], [str(column + 1) for column in range(0, inputs, across)])
    axes.tick_params(labelsize=SMALL, pad=2, top=True, labeltop=inputs > 1, labelbottom=False)
    strip(axes)
    if first == 0:
        _name_channels(axes, inputs)


def _name_channels(axes: Axes, inputs: int) -> None:
    """Says at the first block what the numbers are; a lone input channel has none."""
    if inputs == 1:
        axes.set_title("output channel", loc="left", color=MUTED, fontsize=SMALL, pad=6)
        return
    tall = axes.bbox.height > _TALL * LAYOUT_DPI
    axes.set_ylabel("output channel" if tall else "output", color=MUTED, fontsize=SMALL)
    axes.set_title("input channel", loc="left", color=MUTED, fontsize=SMALL, pad=16)


def _say_scale(figure: Figure, scale: Normalize, left: float, top: float) -> None:
    """A bar at the right with the largest weight, 0 and its negative."""
    largest, height = float(scale.vmax or 1), min(_MAX_BAR, top - _BOTTOM)
    bar = place(figure, left, top - height, 0.13, height)
    colours = ScalarMappable(scale, _COLOURS)
    figure.colorbar(colours, cax=bar)
    bar.set_yticks([-largest, 0, largest], [f"\N{MINUS SIGN}{largest:.2g}", "0", f"+{largest:.2g}"])
    bar.tick_params(labelsize=SMALL, length=2)
    bar.set_title("weight", loc="left", color=MUTED, fontsize=SMALL, pad=10)
    bar.spines[:].set_linewidth(0.6)


def _describe(
    figure: Figure, weights_OIKK: NDArray[np.float32], shown_OIKK: NDArray[np.float32]
) -> None:
    """How many filters there are, and which of them are shown."""
    outputs, inputs, height, width = weights_OIKK.shape
    count = f"{outputs} x {inputs}" if inputs > 1 else f"{outputs}"
    text = f"{count} filters of {height} x {width} weights"
    parts = [
        f"{name} channels 1 to {shown} of {of}"
        for name, shown, of in zip(
            ("output", "input"), shown_OIKK.shape, weights_OIKK.shape, strict=False
        )
        if shown < of
    ]
    if parts:
        text += f"; shown: {' and '.join(parts)}"
    figure.text(
        _LEFT / PAGE_WIDTH, 0.15 / figure.get_size_inches()[1], text, color=MUTED, fontsize=SMALL
    )
