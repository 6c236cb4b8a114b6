"""Loss and accuracy of many configurations on one page, as small multiples with letters."""

from collections.abc import Sequence
from statistics import fmean
from string import ascii_lowercase

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fmx_ml.plots.curves import (
    draw_lines,
    find_bottom,
    judged,
    mark_best,
    scale_log,
    spans_much,
    values_of,
)
from fmx_ml.plots.recipes import Curve, CurveSheet, Panel
from fmx_ml.plots.style import (
    HEADER_INCHES,
    INK,
    MUTED,
    PAGE_WIDTH,
    SMALL,
    TRAIN_COLOUR,
    VAL_COLOUR,
    make_figure,
    place,
    say_empty,
    wrap,
)

MAX_PANELS = 100  # of a sheet; a picture of more could not be opened
_LEGEND, _BOTTOM = 0.35, 0.4  # inches
_ROW, _PANEL = 1.78, 0.98  # inches from row to row, and of a panel's height
_BELOW = 0.3  # inches for the epochs below a panel
_LEFT, _TICKS, _RIGHT = 0.2, 0.45, 0.2  # inches at the edge, for a panel's numbers, at the end
_FAILED_SPANS = 1  # so many times the accuracy axis below it lies what has failed
_MAX_COLUMNS = 2  # of configurations, each of which has two panels


def draw_curve_sheet(recipe: CurveSheet) -> Figure:
    """Two configurations a row; all losses have one scale, and so have all accuracies."""
    panels = recipe.panels[:MAX_PANELS]
    columns = max(1, min(_MAX_COLUMNS, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    height = HEADER_INCHES + _LEGEND + rows * _ROW + _BOTTOM
    figure = make_figure(PAGE_WIDTH, height, recipe.title, recipe.subtitle)
    _explain(figure, recipe.panels)
    if not panels:
        say_empty(place(figure, _LEFT, _BOTTOM, PAGE_WIDTH - 2 * _LEFT, _PANEL))
    width = (PAGE_WIDTH - _LEFT - _RIGHT) / columns
    pairs: list[tuple[Axes, Axes]] = []
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        top = height - HEADER_INCHES - _LEGEND - row * _ROW
        pairs.append(_draw_pair(figure, panel, number, _LEFT + column * width, top, width))
    for axes in (axes for pair in pairs[-columns:] for axes in pair):
        axes.set_xlabel("epoch", fontsize=SMALL, labelpad=2)
    _share_scales(figure, pairs, panels)
    return figure


def _draw_pair(
    figure: Figure, panel: Panel, number: int, left: float, top: float, width: float
) -> tuple[Axes, Axes]:
    """The two panels of a configuration below its label."""
    across, down = figure.get_size_inches()
    label = figure.text(
        left / across, (top - 0.16) / down, panel.label, fontsize=9, fontweight="bold"
    )
    wrap(label, width - 0.15, 1)
    step = width / 2
    bottom = top - _ROW + _BELOW + 0.08
    loss, accuracy = (
        place(figure, left + _TICKS + i * step, bottom, step - _TICKS - 0.12, _PANEL)
        for i in range(2)
    )
    _draw_panel(loss, panel.loss, "loss", 2 * number)
    _draw_panel(accuracy, panel.accuracy, "accuracy", 2 * number + 1)
    return loss, accuracy


def _draw_panel(axes: Axes, curves: Sequence[Curve], quantity: str, number: int) -> None:
    """The title has the validation's figure at the best epoch, or its mean over the runs."""
    axes.tick_params(labelsize=SMALL, pad=2)
    title = f"({letter(number)}) {quantity}"
    if curves:
        best = fmean(judged(curve)[curve.best_epoch - 1] for curve in curves)
        title = f"{title} {best:.4f}"
        axes.grid(visible=True, axis="y")
        draw_lines(axes, curves, weight=0.8)
        axes.set_xlim(1, max(2, *(len(curve.train) for curve in curves)))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, min_n_ticks=1))
    else:
        say_empty(axes)
    axes.set_title(title, loc="left", fontsize=SMALL, color=INK, pad=4)


def _share_scales(
    figure: Figure, pairs: Sequence[tuple[Axes, Axes]], panels: Sequence[Panel]
) -> None:
    losses = [value for panel in panels for value in values_of(panel.loss)]
    accuracies = [panel.accuracy for panel in panels if panel.accuracy]
    low, high = _find_range(accuracies) if accuracies else (0, 1)
    for (loss, accuracy), panel in zip(pairs, panels, strict=True):
        if panel.loss:
            _scale_loss(loss, losses)
            mark_best(loss, panel.loss, 4)
        if panel.accuracy:
            accuracy.set_ylim(low, high)
            accuracy.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
            mark_best(accuracy, panel.accuracy, 4)
            if max(values_of(panel.accuracy)) < low:
                accuracy.text(
                    0.5, 0.5, f"all below {low:.2f}", ha="center", va="center", fontsize=SMALL,
                    transform=accuracy.transAxes, backgroundcolor="white",
                )  # fmt: skip
    if any(min(values_of(curves)) < low for curves in accuracies):
        _note(figure, f"accuracies below {low:.2f} are not shown")


def _scale_loss(axes: Axes, losses: Sequence[float]) -> None:
    low, high = min(losses), max(losses)
    if spans_much(losses):
        scale_log(axes, losses, spacing=0.2)
        axes.set_ylim(low / 1.2, high * 1.2)
    else:
        margin = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))


def _find_range(accuracies: Sequence[Sequence[Curve]]) -> tuple[float, float]:
    """From a little below the best epochs of most configurations to the highest accuracy.

    What ends lower than that pulls the bottom down, unless it has failed altogether: then it would
    leave the others no room.
    """
    values = [value for curves in accuracies for value in values_of(curves)]
    best = [fmean(judged(c)[c.best_epoch - 1] for c in curves) for curves in accuracies]
    bottom, high = find_bottom(best), max(values)
    failed = bottom - _FAILED_SPANS * (high - bottom)
    bottom = max(min(values), min([bottom, *(value for value in best if value > failed)]))
    margin = 0.05 * (high - bottom) or 0.05
    return bottom - margin, high + margin


def _explain(figure: Figure, panels: Sequence[Panel]) -> None:
    """What the colours are, and what the numbers in the titles are."""
    _, height = figure.get_size_inches()
    several = any(len(panel.loss) > 1 for panel in panels)
    best = "best epochs; titles: the mean of their validation figures; bold: means"
    handles = [
        Line2D([], [], color=TRAIN_COLOUR, linewidth=1.7, label="training"),
        Line2D([], [], color=VAL_COLOUR, linewidth=1.7, label="validation"),
        Line2D(
            [], [], color=VAL_COLOUR, marker="o", linestyle="", markeredgecolor="white",
            label=best if several else "best epoch; titles: its validation figure",
        ),
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="upper left", ncols=3, frameon=False, fontsize=SMALL,
        bbox_to_anchor=(_LEFT / PAGE_WIDTH, 1 - (HEADER_INCHES - 0.05) / height), handlelength=1.6,
        columnspacing=1.4, borderaxespad=0, borderpad=0,
    )  # fmt: skip
    if len(panels) > MAX_PANELS:
        _note(figure, f"the first {MAX_PANELS} of {len(panels)} configurations", left=True)


def _note(figure: Figure, text: str, *, left: bool = False) -> None:
    """A quiet line at the foot of the page."""
    x = _LEFT if left else PAGE_WIDTH - _RIGHT
    figure.text(
        x / PAGE_WIDTH, 0.1 / figure.get_size_inches()[1], text, fontsize=SMALL, color=MUTED,
        ha="left" if left else "right",
    )  # fmt: skip


def letter(number: int) -> str:
    """The letters of the panels 0, 1, …: a to z, then aa, ab and so on."""
    before, last = divmod(number, len(ascii_lowercase))
    return (letter(before - 1) if before else "") + ascii_lowercase[last]
