"""Pictures above what an autoencoder makes of them, some of each class.

Legend of shapes: P pictures, H W pixels, R C rows and columns of tiles.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fmx_ml.plots.recipes import Reconstructions
from fmx_ml.plots.style import (
    HEADER_INCHES,
    MUTED,
    PAGE_WIDTH,
    SMALL,
    make_figure,
    place,
    shorten,
)
from fmx_ml.plots.tiles import lay_tiles, middles, strip

_MAX_PER_CLASS = 6
_BLOCKS = 2  # of classes, side by side
_LEFT, _RIGHT, _BOTTOM = 1.2, 0.1, 0.15  # inches left and right of a block, and below
_MAX_SIDE = 0.66  # inches of a picture
_BETWEEN = 0.14  # inches between classes
_GAP = 1  # pixels between pictures


def draw_reconstructions(recipe: Reconstructions) -> Figure:
    """The first six pictures of each class, the originals above, white being 1 and black 0."""
    tensors = load_file(recipe.path)
    columns = _count_columns(tensors["labels"])
    across = PAGE_WIDTH / _BLOCKS - _LEFT - _RIGHT
    side = min(across / columns, _MAX_SIDE)
    pair = 2 * side
    rows = -(-len(recipe.names) // _BLOCKS)
    height = HEADER_INCHES + rows * (pair + _BETWEEN) + _BOTTOM
    figure = make_figure(PAGE_WIDTH, height, recipe.title, recipe.subtitle)
    for label, name in enumerate(shorten(recipe.names)):
        block, row = divmod(label, rows)
        left = block * PAGE_WIDTH / _BLOCKS + _LEFT
        bottom = height - HEADER_INCHES - row * (pair + _BETWEEN) - pair
        axes = place(figure, left, bottom, columns * side, pair)
        chosen = np.flatnonzero(tensors["labels"] == label)[:columns]
        tiles_RCHW = np.full((2, columns, *tensors["originals"].shape[1:]), np.nan, np.float32)
        tiles_RCHW[0, : len(chosen)] = tensors["originals"][chosen]
        tiles_RCHW[1, : len(chosen)] = tensors["reconstructions"][chosen]
        _draw_class(axes, name, tiles_RCHW)
    return figure


def _count_columns(labels_P: NDArray[np.int64]) -> int:
    """As many as the fullest class has pictures, within what can be seen."""
    return int(np.clip(np.bincount(labels_P, minlength=1).max(), 1, _MAX_PER_CLASS))


def _draw_class(axes: Axes, name: str, tiles_RCHW: NDArray[np.float32]) -> None:
    """Both rows of a class; where it has few pictures the rest stays white."""
    axes.imshow(
        lay_tiles(tiles_RCHW, _GAP), cmap="gray", vmin=0, vmax=1, interpolation="none",
        aspect="auto",
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks(middles(2, tiles_RCHW.shape[2], _GAP), [name, "reconstructed"])
    strip(axes)
    first, second = axes.get_yticklabels()
    first.set_fontweight("bold")
    second.set(color=MUTED, fontsize=SMALL)
