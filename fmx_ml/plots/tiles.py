"""Many small pictures as one, with a gap between them.

Legend of shapes: R C rows and columns of tiles, H W pixels.
"""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray


def lay_tiles(tiles_RCHW: NDArray[np.float32], gap: int) -> NDArray[np.float32]:
    """The tiles as one picture [H, W], with NaN in gaps of so many pixels between them."""
    rows, columns, height, width = tiles_RCHW.shape
    framed_RCHW = np.full(
        (rows, columns, height + gap, width + gap), np.nan, dtype=tiles_RCHW.dtype
    )
    framed_RCHW[:, :, :height, :width] = tiles_RCHW
    sheet_HW = framed_RCHW.transpose(0, 2, 1, 3).reshape(
        rows * (height + gap), columns * (width + gap)
    )
    return sheet_HW[: sheet_HW.shape[0] - gap, : sheet_HW.shape[1] - gap]


def middles(count: int, size: int, gap: int) -> list[float]:
    """Where the middle of each tile lies along one side of such a picture, in its pixels."""
    return [i * (size + gap) + (size - 1) / 2 for i in range(count)]


def strip(axes: Axes) -> None:
    """Takes away what axes of pictures do not need: spines and the ticks' marks."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
