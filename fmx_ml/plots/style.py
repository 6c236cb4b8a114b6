"""How every figure looks, and how it is written: equal numbers give equal files."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Two colours that stay apart under every common colour blindness (Okabe and Ito, 2008).
TRAIN_COLOUR = "#0072B2"
VAL_COLOUR = "#D55E00"
INK = "#222222"
MUTED = "#666666"
RULE = "#DDDDDD"

HEADER_INCHES = 0.85  # what title and subtitle take at the top
_DOTS_PER_INCH = 160
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": 10,
    "text.color": INK,
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
    """An empty figure of so many inches, with a title and a quieter line below it."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    left = 0.2 / width
    figure.text(left, 1 - 0.34 / height, title, fontsize=12.5, fontweight="bold")
    figure.text(left, 1 - 0.6 / height, subtitle, fontsize=9, color=MUTED)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes PNG or SVG, by the path's suffix, without dates or versions in it."""
    empty = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata=empty[path.suffix])
