"""Figures against a percentage."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from plot_cases import assert_readable, labels, texts

from fmx_ml.plots.lines import spread_out
from fmx_ml.plots.recipes import Lines, Series
from fmx_ml.plots.render import draw

PERCENTS = [float(percent) for percent in range(5, 101, 5)]
RISING = [0.9 - 0.2 * 0.9**n for n in range(20)]


def draw_series(*series: Series, log_y: bool = False) -> Figure:
    return draw(
        Lines(
            title="Title",
            subtitle="Subtitle",
            x_label="training pictures (%)",
            y_label="accuracy",
            series=series,
            log_y=log_y,
        )
    )


def test_a_line_is_the_mean_of_its_seeds_and_a_band_their_deviation() -> None:
    lower = [value - 0.02 for value in RISING]
    figure = draw_series(Series("random", PERCENTS, [RISING, lower]))
    assert_readable(figure)
    axes = figure.axes[0]
    means = np.asarray(axes.lines[0].get_ydata(), dtype=float)
    assert np.allclose(means, np.array(RISING) - 0.01)
    band = axes.collections[0].get_paths()[0].get_extents()
    assert band.y1 == pytest.approx(RISING[-1] - 0.01 + 0.01 * 2**0.5)
    assert "± one standard deviation" in texts(figure)


def test_one_seed_has_neither_band_nor_a_word_about_it() -> None:
    figure = draw_series(Series("random", PERCENTS, [RISING]))
    assert not figure.axes[0].collections
    assert "deviation" not in texts(figure)


def test_percents_are_whole_numbers() -> None:
    figure = draw_series(Series("random", [5, 10], [[0.5, 0.6]]))
    assert all(label.isdigit() for label in labels(figure.axes[0], "x"))


def test_eight_lines_that_end_together_have_names_apart() -> None:
    names = [f"{start}, {part}" for start in "abcd" for part in ("training", "validation")]
    series = [
        Series(f"pre-trained by {name}", PERCENTS, [RISING], group=i // 2, dashed=i % 2 == 0)
        for i, name in enumerate(names)
    ]
    figure = draw_series(*series)
    assert_readable(figure)
    for name in names:
        assert f"pre-trained by {name}" in texts(figure).replace("\n", " ")
    lines = figure.axes[0].lines
    assert [line.get_color() for line in lines[::2]] == [line.get_color() for line in lines[1::2]]
    assert len({line.get_color() for line in lines}) == 4
    assert [line.get_linestyle() for line in lines[:2]] == ["--", "-"]


def test_a_single_percent_is_points_with_bars() -> None:
    figure = draw_series(
        Series("random", [30.0], [[0.8], [0.9]]), Series("pre-trained", [30.0], [[0.7], [0.7]], 1)
    )
    assert_readable(figure)
    assert labels(figure.axes[0], "x") == ["30"]
    assert len(figure.axes[0].containers) == 2
    assert "bars: ± one standard deviation" in texts(figure)


@pytest.mark.parametrize(
    ("values", "fewest"), [([0.25, 0.26, 0.3], 3), ([0.3, 0.1, 0.05], 4), ([5, 0.5, 0.001], 3)]
)
def test_a_logarithmic_axis_has_numbers_over_any_span(values: list[float], fewest: int) -> None:
    figure = draw_series(Series("random", [5, 50, 100], [values]), log_y=True)
    assert_readable(figure)
    assert figure.axes[0].get_yscale() == "log"
    assert len(labels(figure.axes[0], "y")) >= fewest


def test_a_loss_of_zero_has_no_logarithm() -> None:
    figure = draw_series(Series("random", [5, 50], [[0.1, 0.0]]), log_y=True)
    assert figure.axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("series", [[], [Series("never run", [], [])]])
def test_nothing_is_said_to_be_nothing(series: list[Series]) -> None:
    assert "nothing to show" in texts(draw_series(*series))


def test_a_constant_line_lies_within_the_axes() -> None:
    figure = draw_series(Series("constant", PERCENTS, [[0.5] * 20, [0.5] * 20]))
    assert_readable(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < 0.5 < high


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 10)), min_size=1, max_size=8))
def test_names_spread_out_in_order_without_overlap(things: list[tuple[float, float]]) -> None:
    wanted, sizes = [place for place, _ in things], [size for _, size in things]
    placed = spread_out(wanted, sizes, 0, 100)
    order = sorted(range(len(things)), key=lambda i: placed[i])
    assert [wanted[i] for i in order] == sorted(wanted)
    assert placed[order[0]] - sizes[order[0]] / 2 >= -1e-9
    assert placed[order[-1]] + sizes[order[-1]] / 2 <= 100 + 1e-9
    for one, other in pairwise(order):
        assert placed[other] - placed[one] >= (sizes[one] + sizes[other]) / 2 - 1e-9


def test_names_that_are_apart_stay_where_they_are() -> None:
    assert spread_out([10, 50, 30], [4, 4, 4], 0, 100) == pytest.approx([10, 50, 30])
    assert spread_out([50, 50], [4, 4], 0, 100) == pytest.approx([48, 52])
