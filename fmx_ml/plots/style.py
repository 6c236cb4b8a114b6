"""How every figure looks, and how it is written: equal numbers give equal files."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

# Two colours that stay apart under every common colour blindness (Okabe and Ito, 2008).
TRAIN_COLOUR = "#0072B2"
VAL_COLOUR = "#D55E00"
INK = "#222222"
MUTED = "#666666"
RULE = "#DDDDDD"

# Okabe and Ito's without their yellow, which white swallows, and a grey.
SERIES_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#888888",
)  # fmt: skip
# The same, with two of Tol's muted colours, for ten classes; markers tell them apart as well.
CLASS_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#222222", "#999933",
    "#882255", "#999999",
)  # fmt: skip

PAGE_WIDTH = 8.0  # inches; printed on A4 between margins, 6.7
SMALL = 8.5  # points: 7 when printed so
HEADER_INCHES = 0.85  # what title and subtitle take at the top
LAYOUT_DPI = 100  # dots an inch while a figure is laid out
_DOTS_PER_INCH = 160
_SIDE = 0.2  # inches left of the title and right of it
_ELLIPSIS = "…"
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a label is a dollar
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "fmx",  # otherwise the ids in an SVG are drawn by chance
    "svg.fonttype": "path",
}


@contextmanager
def styled() -> Generator[None]:
    """The style, for as long as a figure is drawn and saved."""
    with mpl.rc_context(_STYLE):  # pyright: ignore[reportArgumentType] - keys are any str
        yield


def make_figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """An empty figure of so many inches, with a title and one or two quieter lines below it."""
    figure = Figure(figsize=(width, height), dpi=LAYOUT_DPI)
    FigureCanvasAgg(figure)
    left = _SIDE / width
    heading = figure.text(left, 1 - 0.34 / height, title, fontweight="bold")
    _fit(heading, width - 2 * _SIDE, 12.5)
    below = figure.text(
        left, 1 - 0.47 / height, subtitle, fontsize=9, color=MUTED, va="top", linespacing=1.15
    )
    wrap(below, width - 2 * _SIDE, 2)
    return figure


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at so many inches from the figure's left and bottom, of so many inches."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / down, width / across, height / down))


def measure(text: Text) -> tuple[float, float]:
    """Width and height of a text in inches, as it will be drawn."""
    box = text.get_window_extent()
    return box.width / LAYOUT_DPI, box.height / LAYOUT_DPI


def wrap(text: Text, inches: float, max_lines: int) -> None:
    """Breaks a text at its spaces; what does not fit into the last line ends in an ellipsis."""
    lines = [""]
    for word in text.get_text().split(" "):
        longer = f"{lines[-1]} {word}".strip()
        text.set_text(longer)
        if measure(text)[0] <= inches or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], " ".join(lines[max_lines - 1 :])]
    text.set_text("\n".join(_cut(text, line, inches) for line in lines))


def _cut(text: Text, line: str, inches: float) -> str:
    text.set_text(line)
    while measure(text)[0] > inches and len(line) > 1:
        line = line[:-1].rstrip()
        text.set_text(line + _ELLIPSIS)
    return text.get_text()


def _fit(text: Text, inches: float, points: float) -> None:
    """A title keeps all its words, in letters smaller than these where they need it."""
    text.set_fontsize(points)
    width, _ = measure(text)
    text.set_fontsize(points * min(1, inches / max(width, 1e-6)))


def shorten(names: Sequence[str], longest: int = 14) -> list[str]:
    """Names of classes as an axis has room for them."""
    return [n if len(n) <= longest else n[: longest - 1].rstrip() + _ELLIPSIS for n in names]


def say_empty(axes: Axes) -> None:
    """Says in the middle of axes that there is nothing to draw."""
    axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def save(figure: Figure, path: Path) -> None:
    """Writes PNG or SVG, by the path's suffix, without dates or versions in it."""
    empty = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    with styled():  # ticks are made while a figure is written
        figure.savefig(path, dpi=_DOTS_PER_INCH, metadata=empty[path.suffix])
