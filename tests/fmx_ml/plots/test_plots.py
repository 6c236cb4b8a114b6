"""Curves, the confusion matrix and the look of every figure."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from plot_cases import assert_readable, texts

from fmx_ml.plots.recipes import Confusion, Curve, CurvePair, Curves
from fmx_ml.plots.render import draw as render
from fmx_ml.plots.style import make_figure, save, styled

FALLING = [1.5 * 0.9**n + 0.02 for n in range(60)]


def line_values(figure: Figure) -> list[NDArray[np.float64]]:
    return [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[0].lines]


def draw(*curves: Curve, quantity: str = "loss") -> Figure:
    return render(Curves(title="Title", subtitle="Subtitle", quantity=quantity, curves=curves))


def test_one_run_has_two_lines_and_its_best_epoch() -> None:
    figure = draw(Curve(FALLING, [v + 0.01 for v in FALLING], best_epoch=60))
    for text in ("Title", "Subtitle", "training", "validation", "best epoch 60: 0.0330"):
        assert text in texts(figure)
    lines = [values for values in line_values(figure) if len(values) == 60]
    assert np.allclose(lines[0], FALLING)
    assert figure.axes[0].get_yscale() == "log"


def test_several_runs_have_a_mean_as_far_as_all_ran() -> None:
    short, long = Curve(FALLING[:20], FALLING[:20], 20), Curve(FALLING, FALLING, 60)
    figure = draw(short, long)
    widths = [line.get_linewidth() for line in figure.axes[0].lines]
    lengths = [len(values) for values in line_values(figure)]
    assert [n for n, width in zip(lengths, widths, strict=True) if width > 2] == [20, 20]
    assert all(width < 1 for n, width in zip(lengths, widths, strict=True) if n == 60)
    assert "best epoch" not in texts(figure)


def test_losses_that_span_little_stay_linear() -> None:
    assert draw(Curve([0.5, 0.4], [0.45, 0.4], 2)).axes[0].get_yscale() == "linear"


def test_accuracies_start_where_they_flatten_and_say_so() -> None:
    rising = [1 - 0.6 * 0.8**n - 0.02 for n in range(60)]
    axes = draw(Curve(rising, rising, 60), quantity="accuracy").axes[0]
    assert axes.get_ylim()[0] > 0.8
    assert "the first epochs lie below" in axes.get_ylabel()
    flat = draw(Curve([0.9, 0.92], [0.9, 0.91], 2), quantity="accuracy").axes[0]
    assert flat.get_ylabel() == "accuracy"


@pytest.mark.parametrize("values", [[0.4], [0.0, 0.0], [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("quantity", ["loss", "accuracy"])
def test_short_and_flat_histories_can_be_drawn(
    values: list[float], quantity: str, tmp_path: Path
) -> None:
    figure = draw(Curve(values, values, 1), quantity=quantity)
    save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert_readable(figure)
    low, high = figure.axes[0].get_ylim()
    assert low <= min(values) <= max(values) <= high


def test_labels_of_lines_that_meet_stay_apart() -> None:
    figure = draw(Curve([0.5, 0.3], [0.5, 0.3], 2))
    heights = {
        text.get_text(): text.get_position()[1]
        for text in figure.axes[0].texts
        if text.get_text() in {"training", "validation"}
    }
    assert abs(heights["training"] - heights["validation"]) >= 0.05


def test_what_is_not_validated_has_one_line_and_its_best_epoch() -> None:
    figure = draw(Curve(FALLING, None, best_epoch=60), quantity="mean squared error")
    assert_readable(figure)
    assert "training" in texts(figure)
    assert "validation" not in texts(figure)
    assert "best epoch 60: 0.0230" in texts(figure)


def test_no_runs_are_said_to_be_none() -> None:
    assert "nothing to show" in texts(draw())


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_pair_has_loss_and_accuracy_side_by_side(num_seeds: int) -> None:
    rising = [1 - 0.3 * value for value in FALLING]
    figure = render(
        CurvePair(
            title="Title",
            subtitle="Subtitle",
            loss=[Curve(FALLING, FALLING, 30)] * num_seeds,
            accuracy=[Curve(rising, rising, 30)] * num_seeds,
        )
    )
    assert_readable(figure)
    loss, accuracy = figure.axes
    assert loss.get_position().x1 < accuracy.get_position().x0
    assert loss.get_position().height == accuracy.get_position().height
    assert np.allclose(line_values(figure)[0], FALLING)
    assert np.allclose(np.asarray(accuracy.lines[0].get_ydata(), dtype=float), rising)
    assert accuracy.get_ylabel() == "accuracy\n(the first epochs lie below)"
    assert ("best epoch 30, by loss" in texts(figure)) == (num_seeds == 1)


def test_a_best_epoch_below_the_axes_has_no_dot() -> None:
    late = [0.2, *([0.99] * 30)]
    axes = draw(Curve(late, late, 1), quantity="accuracy").axes[0]
    assert axes.get_ylim()[0] > 0.2
    assert not [line for line in axes.lines if line.get_marker() == "o"]


def test_confusion_shows_every_count_and_recall() -> None:
    figure = render(
        Confusion(
            title="Title",
            subtitle="Subtitle",
            counts=[[970, 30], [4.6, 995.4]],
            names=["Coat", "Bag"],
        )
    )
    assert_readable(figure)
    for text in ("970", "30", "4.6", "995.4", "97.0%", "99.5%"):
        assert text in texts(figure).splitlines()


def test_long_titles_and_subtitles_fit() -> None:
    with styled():
        figure = make_figure(8, 3, "A title of many words, " * 4, "a subtitle · " * 20)
        assert_readable(figure)
    title, subtitle = (text.get_text() for text in figure.texts)
    assert title == "A title of many words, " * 4
    assert subtitle.count("\n") == 1
    assert "…" not in subtitle
    with styled():
        longer = make_figure(8, 3, "Title", "a subtitle · " * 40)
    assert longer.texts[1].get_text().endswith("…")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_equal_figures_are_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        save(draw(Curve(FALLING, FALLING, 60)), tmp_path / f"{name}.{suffix}")
    content = (tmp_path / f"one.{suffix}").read_bytes()
    assert content == (tmp_path / f"two.{suffix}").read_bytes()
    assert b"matplotlib.org" not in content
    assert b"<dc:date>" not in content


def test_png_has_the_size_asked_for(tmp_path: Path) -> None:
    save(make_figure(5, 3, "Title", "Subtitle"), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size == (800, 480)


def test_the_style_ends_with_the_figure() -> None:
    before = mpl.rcParams["svg.hashsalt"]
    with styled():
        assert mpl.rcParams["svg.hashsalt"] == "fmx"
    assert mpl.rcParams["svg.hashsalt"] == before
