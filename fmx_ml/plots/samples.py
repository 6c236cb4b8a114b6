"""A few pictures of each class, one row a class.

Legend of shapes: N examples, H W pixels.
"""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fmx_ml.plots.recipes import Samples
from fmx_ml.plots.style import HEADER_INCHES, make_figure, place, shorten

_PER_CLASS = 8
_SIDE, _GAP = 28, 3  # pixels of the data set
_INCHES_PER_PIXEL = 0.027
_LEFT, _RIGHT, _BOTTOM = 1.35, 0.2, 0.2  # inches
_WHITE = 255


def draw_samples(recipe: Samples) -> Figure:
    """The first eight pictures of each class, in the data set's order."""
    test_set, names = load_file(recipe.test_set), recipe.names
    sheet_HW = lay_out(test_set["images"], test_set["labels"], len(names))
    down, across = (_INCHES_PER_PIXEL * pixels for pixels in sheet_HW.shape)
    width, height = _LEFT + across + _RIGHT, HEADER_INCHES + down + _BOTTOM
    figure = make_figure(width, height, recipe.title, recipe.subtitle)
    axes = place(figure, _LEFT, _BOTTOM, across, down)
    axes.imshow(sheet_HW, cmap="gray", vmin=0, vmax=_WHITE, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([row * (_SIDE + _GAP) + _SIDE / 2 for row in range(len(names))], shorten(names))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def lay_out(
    images_NHW: NDArray[np.uint8], labels_N: NDArray[np.int64], num_classes: int
) -> NDArray[np.uint8]:
    """All of them as one picture, a row a class, with white between them."""
    step = _SIDE + _GAP
    shape = (num_classes * step - _GAP, _PER_CLASS * step - _GAP)
    sheet_HW = np.full(shape, _WHITE, dtype=np.uint8)
    for label in range(num_classes):
        top = label * step
        for column, index in enumerate(np.flatnonzero(labels_N == label)[:_PER_CLASS]):
            left = column * step
            sheet_HW[top : top + _SIDE, left : left + _SIDE] = images_NHW[index]
    return sheet_HW
