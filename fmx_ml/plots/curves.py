"""Training and validation figures over the epochs, of one run or of several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from fmx_ml.plots.style import HEADER_INCHES, INK, MUTED, TRAIN_COLOUR, VAL_COLOUR, make_figure

_WIDTH, _HEIGHT = 8.0, 4.6  # inches
_MIN_LABEL_GAP = 0.055  # of the axes' height: a line of text
_LOG_RATIO = 8  # losses that differ by more are easier to read on a logarithmic axis
_ACCURACY_SPAN = 6  # the axis goes down by so many times the median error


@dataclass(frozen=True)
class Curve:
    """One run: its figures at epochs 1, 2, …, and which epoch was the best."""

    train: Sequence[float]
    val: Sequence[float]
    best_epoch: int


def draw_curves(curves: Sequence[Curve], *, title: str, subtitle: str, quantity: str) -> Figure:
    """One run in bold lines, or each run thin with their mean in bold as far as all of them ran."""
    figure = make_figure(_WIDTH, _HEIGHT, title, subtitle)
    axes = figure.add_axes((
        0.8 / _WIDTH, 0.6 / _HEIGHT, 1 - 1.95 / _WIDTH, 1 - (0.6 + HEADER_INCHES) / _HEIGHT
    ))  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.grid(visible=True, axis="y")
    _draw_lines(axes, [curve.train for curve in curves], TRAIN_COLOUR)
    _draw_lines(axes, [curve.val for curve in curves], VAL_COLOUR)
    _scale(axes, curves)
    _label_ends(axes, curves)
    _mark_best(axes, curves)
    return figure


def _draw_lines(axes: Axes, lines: Sequence[Sequence[float]], colour: str) -> None:
    alone = len(lines) == 1
    for line in lines:
        axes.plot(
            range(1, len(line) + 1), line, color=colour, alpha=1 if alone else 0.45,
            linewidth=1.7 if alone else 0.8, marker="o" if len(line) == 1 else "",
        )  # fmt: skip
    if not alone:
        means = [fmean(values) for values in zip(*lines, strict=False)]
        axes.plot(range(1, len(means) + 1), means, color=colour, linewidth=2.2)


def _scale(axes: Axes, curves: Sequence[Curve]) -> None:
    """Whole epochs across; upwards whatever lets the late epochs be read.

    Losses that span much get a logarithmic axis. Accuracies get one that starts where the curves
    flatten, and says so.
    """
    values = [value for curve in curves for line in (curve.train, curve.val) for value in line]
    axes.set_xlim(1, max(2, *(len(curve.val) for curve in curves)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))
    if axes.get_ylabel() == "accuracy":
        typical = median(value for curve in curves for value in curve.val)
        bottom = 1 - _ACCURACY_SPAN * (1 - typical)
        if min(values) < bottom < max(values):
            axes.set_ylim(bottom, max(values) + 0.05 * (max(values) - bottom))
            axes.set_ylabel("accuracy (the first epochs lie below)")
    elif min(values) > 0 and max(values) > _LOG_RATIO * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.autoscale_view()


def _label_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Names the lines at their right ends, apart from each other where they meet."""
    train = _height(axes, fmean(curve.train[-1] for curve in curves))
    val = _height(axes, fmean(curve.val[-1] for curve in curves))
    push = max(0.0, _MIN_LABEL_GAP - abs(train - val)) / 2 * (1 if train > val else -1)
    for height, label, colour in (
        (train + push, "training", TRAIN_COLOUR),
        (val - push, "validation", VAL_COLOUR),
    ):
        axes.text(
            1.02, height, label, color=colour, fontweight="bold", va="center",
            transform=axes.transAxes,
        )  # fmt: skip


def _mark_best(axes: Axes, curves: Sequence[Curve]) -> None:
    """A dot at each run's best epoch; a lone run's has its figure beside a line across."""
    for curve in curves:
        axes.plot(
            curve.best_epoch, curve.val[curve.best_epoch - 1], marker="o", markersize=5.5,
            color=VAL_COLOUR, markeredgecolor="white", zorder=5, clip_on=False,
        )  # fmt: skip
    if len(curves) > 1:
        return
    best, value = curves[0].best_epoch, curves[0].val[curves[0].best_epoch - 1]
    axes.axvline(best, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    late, high = 2 * best > sum(axes.get_xlim()), _height(axes, value) > 0.5  # noqa: PLR2004
    by = ", by loss" if axes.get_ylabel().startswith("accuracy") else ""
    axes.annotate(
        f"best epoch {best}{by}: {value:.4f}", (best, 0 if high else 1),
        xycoords=("data", "axes fraction"), xytext=(-5 if late else 5, 5 if high else -5),
        textcoords="offset points", ha="right" if late else "left",
        va="bottom" if high else "top", fontsize=9, color=INK,
    )  # fmt: skip


def _height(axes: Axes, value: float) -> float:
    """Where a value lies between the bottom (0) and the top (1) of the axes."""
    axes.get_ylim()  # settles the limits
    _, pixel = axes.transData.transform((1, value))
    return axes.transAxes.inverted().transform((0, pixel))[1]
