"""What figures are checked by: their texts, where these lie, and files to draw from."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fmx_ml.plots.style import styled

NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip


def write_tensors(path: Path, **tensors: NDArray[np.generic]) -> Path:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


def settle(figure: Figure) -> list[Text]:
    """Draws a figure and gives back its visible texts, ticks' labels among them."""
    with styled():
        figure.canvas.draw()
    return list(_visible_texts(figure))


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in settle(figure))


def labels(axes: Axes, side: str) -> list[str]:
    """The tick labels that can be seen, along x or y."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    settle(figure)
    return [text.get_text() for text in _tick_labels(axes, side)]


def assert_readable(figure: Figure, smallest: float = 7) -> None:
    """Every text lies inside the figure; no two overlap; none is smaller in print, in points."""
    found = settle(figure)
    boxes = [text.get_window_extent() for text in found]
    width, height = figure.bbox.width, figure.bbox.height
    printed = min(1, 6.7 / figure.bbox_inches.width)  # on A4 between margins
    for text, box in zip(found, boxes, strict=True):
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text.get_text()!r} is cut off"
        points = FontProperties(size=text.get_fontsize()).get_size_in_points()
        assert points * printed >= smallest, f"{text.get_text()!r} is too small"
    for (one, box), (other, other_box) in combinations(zip(found, boxes, strict=True), 2):
        overlap = Bbox.intersection(box, other_box)
        if overlap is not None and overlap.width > 1 and overlap.height > 1:
            raise AssertionError(f"{one.get_text()!r} lies on {other.get_text()!r}")


def _visible_texts(figure: Figure) -> Iterator[Text]:
    yield from (text for text in figure.texts if text.get_text())
    for legend in figure.legends:
        yield from legend.get_texts()
    for axes in _all_axes(figure):
        named = (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)  # pyright: ignore[reportAttributeAccessIssue]
        yield from (text for text in (*named, *axes.texts) if text.get_text())
        if (legend := axes.get_legend()) is not None:
            yield from (legend.get_title(), *legend.get_texts())
        for side in "xy":
            yield from _tick_labels(axes, side)


def _all_axes(figure: Figure) -> Iterator[Axes]:
    for axes in figure.axes:
        yield axes
        yield from axes.child_axes  # pyright: ignore[reportReturnType] - a second axis is one too


def _tick_labels(axes: Axes, side: str) -> Iterator[Text]:
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    slack = 1e-6 * (high - low)
    for tick in axis.get_major_ticks():
        if low - slack <= tick.get_loc() <= high + slack:
            shown = (label for label in (tick.label1, tick.label2) if label.get_visible())
            yield from (label for label in shown if label.get_text())
