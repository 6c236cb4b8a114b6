"""A figure against a percentage: the mean over the seeds, and how far they lie apart."""

from collections.abc import Sequence
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from fmx_ml.plots.curves import scale_log
from fmx_ml.plots.recipes import Lines, Series
from fmx_ml.plots.style import (
    HEADER_INCHES,
    LAYOUT_DPI,
    MUTED,
    PAGE_WIDTH,
    SERIES_COLOURS,
    SMALL,
    make_figure,
    measure,
    place,
    say_empty,
    wrap,
)

_HEIGHT = 4.8  # inches, unless the names need more
_LEFT, _BOTTOM, _LEADER, _RIGHT = 0.9, 0.85, 0.35, 0.15  # inches; the leaders go to the names
_MAX_NAME = 1.75  # inches of a line of a series's name
_NAME_ROOM, _NAME_GAP = 0.38, 0.06  # inches for a name, and between names
_NAME_LINES = 3
_MAX_MARKED = 30  # points of a line that still get a marker
_DASHES = (0, (4, 2))


def draw_lines(recipe: Lines) -> Figure:
    """A line a series, named at the right; a band of ± one deviation where there are seeds."""
    drawn = [series for series in recipe.series if series.x and series.y]
    height = max(_HEIGHT, HEADER_INCHES + _BOTTOM + len(drawn) * _NAME_ROOM)
    figure = make_figure(PAGE_WIDTH, height, recipe.title, recipe.subtitle)
    names = [_write_name(figure, series) for series in drawn]
    sizes = [measure(name) for name in names]
    room = max((width for width, _ in sizes), default=0) + _LEADER + _RIGHT
    axes = place(
        figure, _LEFT, _BOTTOM, PAGE_WIDTH - _LEFT - room, height - HEADER_INCHES - _BOTTOM
    )
    axes.set_xlabel(recipe.x_label)
    axes.set_ylabel(recipe.y_label)
    if not drawn:
        say_empty(axes)
        return figure
    for series in drawn:
        _draw_series(axes, series)
    _scale(axes, drawn, log_y=recipe.log_y)
    _connect(figure, axes, drawn, names, [high for _, high in sizes])
    _explain(figure, drawn)
    return figure


def spread_out(
    wanted: Sequence[float], sizes: Sequence[float], low: float, high: float
) -> list[float]:
    """Where the middles of things of these sizes go: apart, and as near as can be to `wanted`.

    What overlaps is put side by side around its mean place, which may join it with the next; that
    is isotonic regression by pooling adjacent violators.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    offsets, total = dict[int, float](), 0.0
    for i in order:
        offsets[i], total = total + sizes[i] / 2, total + sizes[i]
    pools: list[list[int]] = []

    def place_of(pool: Sequence[int]) -> float:
        return fmean(wanted[i] - offsets[i] for i in pool)

    for i in order:
        pools.append([i])
        while len(pools) > 1 and place_of(pools[-1]) < place_of(pools[-2]):
            last = pools.pop()
            pools[-1] += last
    placed = {
        i: max(low, min(place_of(pool), high - total)) + offsets[i] for pool in pools for i in pool
    }
    return [placed[i] for i in range(len(wanted))]


def _write_name(figure: Figure, series: Series) -> Text:
    """A series's name, not yet in its place, in three lines at most."""
    name = figure.text(
        0, 0, series.label, color=_colour(series), fontsize=9, fontweight="bold", va="center"
    )
    wrap(name, _MAX_NAME, _NAME_LINES)
    return name


def _colour(series: Series) -> str:
    return SERIES_COLOURS[series.group % len(SERIES_COLOURS)]


def _means(series: Series) -> list[float]:
    return [fmean(values) for values in zip(*series.y, strict=True)]


def _draw_series(axes: Axes, series: Series) -> None:
    """The mean as a line, with markers where they do not touch; the deviation behind it."""
    means, colour = _means(series), _colour(series)
    if len(series.y) > 1:
        _draw_deviation(axes, series, means)
    axes.plot(
        series.x, means, color=colour, linewidth=1.7, linestyle=_DASHES if series.dashed else "-",
        marker="o" if len(means) <= _MAX_MARKED else "", markersize=4,
        markerfacecolor="white" if series.dashed else colour,
    )  # fmt: skip


def _draw_deviation(axes: Axes, series: Series, means: Sequence[float]) -> None:
    deviations = [stdev(values) for values in zip(*series.y, strict=True)]
    colour = _colour(series)
    if len(means) == 1:
        axes.errorbar(series.x, means, deviations, color=colour, capsize=3, linewidth=1)
        return
    low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
    high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
    axes.fill_between(series.x, low, high, color=colour, alpha=0.16, linewidth=0)


def _scale(axes: Axes, drawn: Sequence[Series], *, log_y: bool) -> None:
    xs = sorted({x for series in drawn for x in series.x})
    margin = 0.02 * (xs[-1] - xs[0]) or 1
    axes.set_xlim(xs[0] - margin, xs[-1] + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    if len(xs) == 1:
        axes.set_xticks(xs, [f"{xs[0]:g}"])
    axes.grid(visible=True, axis="y")
    values = [value for series in drawn for line in series.y for value in line]
    if log_y and min(values) > 0:
        scale_log(axes, values)
        axes.set_ylim(min(values) / 1.1, max(values) * 1.1)


def _connect(
    figure: Figure,
    axes: Axes,
    drawn: Sequence[Series],
    names: Sequence[Text],
    heights: Sequence[float],
) -> None:
    """Puts the names at the right, each as high as its line ends or near it, and joins them."""
    across, down = figure.get_size_inches() * LAYOUT_DPI
    box, gap = axes.bbox, _NAME_GAP * LAYOUT_DPI
    axes.get_ylim()  # settles the limits
    ends = [axes.transData.transform((series.x[-1], _means(series)[-1])) for series in drawn]
    sizes = [height * LAYOUT_DPI + gap for height in heights]
    middles = spread_out([y for _, y in ends], sizes, box.y0, box.y1)
    left = box.x1 + _LEADER * LAYOUT_DPI
    for series, name, (x, y), middle in zip(drawn, names, ends, middles, strict=True):
        name.set_position((left / across, middle / down))
        leader = Line2D(
            [x / across, (left - gap) / across], [y / down, middle / down], linewidth=0.8,
            alpha=0.6, color=_colour(series), linestyle=_DASHES if series.dashed else "-",
        )  # fmt: skip
        figure.add_artist(leader)


def _explain(figure: Figure, drawn: Sequence[Series]) -> None:
    """What is drawn of the seeds, where there are several."""
    if all(len(series.y) == 1 for series in drawn):
        return
    several = any(len(series.x) > 1 for series in drawn)
    figure.text(
        _LEFT / PAGE_WIDTH, 0.14 / figure.get_size_inches()[1],
        f"means over the seeds; {'bands' if several else 'bars'}: ± one standard deviation",
        color=MUTED, fontsize=SMALL,
    )  # fmt: skip
