"""A picture and what each convolution makes of it, one row a layer.

Legend of shapes: P pictures, C channels, H W pixels.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fmx_ml.plots.recipes import FeatureMaps
from fmx_ml.plots.style import HEADER_INCHES, MUTED, PAGE_WIDTH, SMALL, make_figure, place
from fmx_ml.plots.tiles import strip

_LEFT, _PICTURE, _NAMES, _RIGHT = 0.2, 1.35, 1.15, 0.2  # inches from left to right
_TOP, _BOTTOM, _GAP = 0.2, 0.45, 0.1  # inches; above the maps stand their numbers
_NAME_HEIGHT = 0.5  # inches of a layer's name and what is below it
_MAX_SIDE = 0.82  # inches of a map
_WHITE = 255


def draw_feature_maps(recipe: FeatureMaps) -> Figure:
    """The picture at the left; each layer's first maps, from black for 0 to its largest value."""
    tensors = load_file(recipe.maps)
    space = PAGE_WIDTH - _LEFT - _PICTURE - _NAMES - _RIGHT
    side = min(_MAX_SIDE, space / recipe.count - _GAP)
    step = max(side, _NAME_HEIGHT) + _GAP
    rows = max(_PICTURE, len(recipe.layers) * step)
    height = HEADER_INCHES + _TOP + rows + _BOTTOM
    figure = make_figure(PAGE_WIDTH, height, recipe.title, recipe.subtitle)
    top = height - HEADER_INCHES - _TOP
    picture = place(figure, _LEFT, top - _PICTURE, _PICTURE, _PICTURE)
    _show(picture, tensors["images"][recipe.index], _WHITE)
    picture.set_title("picture", fontsize=SMALL, color=MUTED, pad=4)
    for row, layer in enumerate(recipe.layers):
        maps_CHW = tensors[layer][recipe.index]
        bottom = top - row * step - side
        _draw_layer(figure, maps_CHW[: recipe.count], bottom, side, numbered=row == 0)
        _name_layer(figure, layer, maps_CHW, bottom + side / 2)
    figure.text(
        _LEFT / PAGE_WIDTH, 0.15 / height,
        "black: 0, white: the largest value of the layer's maps that are shown",
        color=MUTED, fontsize=SMALL,
    )  # fmt: skip
    return figure


def _draw_layer(
    figure: Figure, maps_CHW: NDArray[np.float32], bottom: float, side: float, *, numbered: bool
) -> None:
    largest = float(maps_CHW.max()) or 1.0  # a dead layer is black
    for column, map_HW in enumerate(maps_CHW):
        left = _LEFT + _PICTURE + _NAMES + column * (side + _GAP)
        axes = place(figure, left, bottom, side, side)
        _show(axes, map_HW, largest)
        if numbered:
            label = f"map {column + 1}" if column == 0 else str(column + 1)
            axes.set_title(label, fontsize=SMALL, color=MUTED, pad=4)


def _show(axes: Axes, picture_HW: NDArray[np.generic], largest: float) -> None:
    axes.imshow(picture_HW, cmap="gray", vmin=0, vmax=largest, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    strip(axes)


def _name_layer(figure: Figure, layer: str, maps_CHW: NDArray[np.float32], middle: float) -> None:
    """The layer's name over the number and size of its maps."""
    across, down = figure.get_size_inches()
    channels, height, width = maps_CHW.shape
    x = (_LEFT + _PICTURE + _NAMES - 0.12) / across
    figure.text(x, (middle + 0.1) / down, layer, ha="right", va="bottom", fontweight="bold")
    figure.text(
        x, (middle + 0.06) / down, f"{channels} maps,\n{height} x {width}", ha="right", va="top",
        color=MUTED, fontsize=SMALL,
    )  # fmt: skip
