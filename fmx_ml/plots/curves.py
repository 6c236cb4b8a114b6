"""Training and validation figures over the epochs, of one run or of several seeds."""

from collections.abc import Sequence
from math import ceil, floor, log10
from statistics import fmean, median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from fmx_ml.plots.recipes import Curve, CurvePair, Curves
from fmx_ml.plots.style import (
    HEADER_INCHES,
    INK,
    LAYOUT_DPI,
    MUTED,
    PAGE_WIDTH,
    TRAIN_COLOUR,
    VAL_COLOUR,
    make_figure,
    place,
    say_empty,
)

_HEIGHT = 4.6  # inches
_PAIR_HEIGHT = 3.9
_LEFT, _BOTTOM, _RIGHT = 0.8, 0.6, 1.15  # inches for the axis labels and the lines' names
_PAIR_LEFT, _PAIR_WIDTH = (0.75, 4.62), 2.28
_TEXT_INCHES = 0.17  # a line of text
_LOG_RATIO = 8  # losses that differ by more are easier to read on a logarithmic axis
_LOG_TICKS = ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))  # a power of ten's
_MIN_TICKS = 3
_ACCURACY_SPAN = 6  # the axis goes down by so many times the median error


def draw_curves(recipe: Curves) -> Figure:
    """One run in bold lines, or each run thin with their mean in bold as far as all of them ran."""
    figure = make_figure(PAGE_WIDTH, _HEIGHT, recipe.title, recipe.subtitle)
    width, height = PAGE_WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - HEADER_INCHES
    axes = place(figure, _LEFT, _BOTTOM, width, height)
    _draw_panel(axes, recipe.curves, recipe.quantity, separator=": ")
    _label_ends(axes, recipe.curves)
    return figure


def draw_curve_pair(recipe: CurvePair) -> Figure:
    """Loss at the left, accuracy at the right, each as `draw_curves` draws it."""
    figure = make_figure(PAGE_WIDTH, _PAIR_HEIGHT, recipe.title, recipe.subtitle)
    height = _PAIR_HEIGHT - _BOTTOM - HEADER_INCHES
    left, right = (place(figure, x, _BOTTOM, _PAIR_WIDTH, height) for x in _PAIR_LEFT)
    _draw_panel(left, recipe.loss, "loss", separator="\n")
    _draw_panel(right, recipe.accuracy, "accuracy", separator="\n")
    _label_ends(right if recipe.accuracy else left, recipe.accuracy or recipe.loss)
    return figure


def draw_lines(axes: Axes, curves: Sequence[Curve], *, weight: float = 1.0) -> None:
    """The lines of training and validation, without scales or names; `weight` makes them bolder."""
    _draw_runs(axes, [curve.train for curve in curves], TRAIN_COLOUR, weight)
    _draw_runs(axes, [curve.val for curve in curves if curve.val], VAL_COLOUR, weight)


def judged(curve: Curve) -> Sequence[float]:
    """The line by which a run is judged: validation's, or training's where nothing else is."""
    return curve.val or curve.train


def mark_best(axes: Axes, curves: Sequence[Curve], size: float) -> None:
    """A dot of so many points at each run's best epoch, if the axes reach so far."""
    low, high = axes.get_ylim()
    for curve in curves:
        value = judged(curve)[curve.best_epoch - 1]
        if not low <= value <= high:
            continue
        axes.plot(
            curve.best_epoch, value, marker="o", markersize=size,
            color=VAL_COLOUR if curve.val else TRAIN_COLOUR, markeredgecolor="white", zorder=5,
            clip_on=False,
        )  # fmt: skip


def spans_much(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis makes these losses easier to read, and can hold them."""
    return min(values) > 0 and max(values) > _LOG_RATIO * min(values)


def scale_log(axes: Axes, values: Sequence[float], *, spacing: float = 0.4) -> None:
    """A logarithmic axis upwards, with plain numbers about so many inches apart."""
    low, high = min(values), max(values)
    room = axes.bbox.height / LAYOUT_DPI / spacing
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
    if _count_ticks(_LOG_TICKS[0], low, high) < _MIN_TICKS:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=max(2, int(room))))
        return
    fitting = (subs for subs in _LOG_TICKS if _count_ticks(subs, low, high) <= room)
    axes.yaxis.set_major_locator(LogLocator(subs=next(fitting, (1,))))


def _count_ticks(subs: Sequence[float], low: float, high: float) -> int:
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return sum(low <= sub * 10.0**power <= high for power in powers for sub in subs)


def find_bottom(accuracies: Sequence[float]) -> float:
    """Where an axis should start so that half of these accuracies lie in its highest part."""
    return 1 - _ACCURACY_SPAN * (1 - median(accuracies))


def values_of(curves: Sequence[Curve]) -> list[float]:
    """All figures of some runs."""
    return [value for curve in curves for line in (curve.train, curve.val or ()) for value in line]


def _draw_panel(axes: Axes, curves: Sequence[Curve], quantity: str, *, separator: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    if not curves:
        say_empty(axes)
        return
    axes.grid(visible=True, axis="y")
    draw_lines(axes, curves)
    _scale(axes, curves, f"accuracy{separator.replace(': ', ' ')}(the first epochs lie below)")
    mark_best(axes, curves, 5.5)
    if len(curves) == 1:
        _name_best(axes, curves[0], separator)


def _draw_runs(axes: Axes, lines: Sequence[Sequence[float]], colour: str, weight: float) -> None:
    alone = len(lines) == 1
    for line in lines:
        axes.plot(
            range(1, len(line) + 1), line, color=colour, alpha=1 if alone else 0.45,
            linewidth=weight * (1.7 if alone else 0.8), marker="o" if len(line) == 1 else "",
        )  # fmt: skip
    if len(lines) > 1:
        means = [fmean(values) for values in zip(*lines, strict=False)]
        axes.plot(range(1, len(means) + 1), means, color=colour, linewidth=weight * 2.2)


def _scale(axes: Axes, curves: Sequence[Curve], cut_label: str) -> None:
    """Whole epochs across; upwards whatever lets the late epochs be read.

    Losses that span much get a logarithmic axis. Accuracies get one that starts where the curves
    flatten, and says so by its label.
    """
    values = values_of(curves)
    axes.set_xlim(1, max(2, *(len(curve.train) for curve in curves)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))
    if axes.get_ylabel() == "accuracy":
        bottom = find_bottom([value for curve in curves for value in judged(curve)])
        if min(values) < bottom < max(values):
            axes.set_ylim(bottom, max(values) + 0.05 * (max(values) - bottom))
            axes.set_ylabel(cut_label)
    elif spans_much(values):
        scale_log(axes, values)
    axes.autoscale_view()


def _label_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Names the lines at their right ends, apart from each other where they meet."""
    if not curves:
        return
    train = _height(axes, fmean(curve.train[-1] for curve in curves))
    names = [(train, "training", TRAIN_COLOUR)]
    if lasts := [curve.val[-1] for curve in curves if curve.val]:
        val = _height(axes, fmean(lasts))
        gap = _TEXT_INCHES * LAYOUT_DPI / axes.bbox.height
        push = max(0.0, gap - abs(train - val)) / 2 * (1 if train > val else -1)
        names = [
            (train + push, "training", TRAIN_COLOUR),
            (val - push, "validation", VAL_COLOUR),
        ]
    for height, label, colour in names:
        axes.text(
            1.02, height, label, color=colour, fontweight="bold", va="center",
            transform=axes.transAxes,
        )  # fmt: skip


def _name_best(axes: Axes, curve: Curve, separator: str) -> None:
    """A line across at a lone run's best epoch, with its figure beside it."""
    best, value = curve.best_epoch, judged(curve)[curve.best_epoch - 1]
    axes.axvline(best, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    late, high = 2 * best > sum(axes.get_xlim()), _height(axes, value) > 0.5  # noqa: PLR2004
    by = ", by loss" if axes.get_ylabel().startswith("accuracy") else ""
    axes.annotate(
        f"best epoch {best}{by}{separator}{value:.4f}", (best, 0 if high else 1),
        xycoords=("data", "axes fraction"), xytext=(-5 if late else 5, 5 if high else -5),
        textcoords="offset points", ha="right" if late else "left",
        va="bottom" if high else "top", fontsize=9, color=INK,
    )  # fmt: skip


def _height(axes: Axes, value: float) -> float:
    """Where a value lies between the bottom (0) and the top (1) of the axes."""
    axes.get_ylim()  # settles the limits
    _, pixel = axes.transData.transform((1, value))
    return axes.transAxes.inverted().transform((0, pixel))[1]
