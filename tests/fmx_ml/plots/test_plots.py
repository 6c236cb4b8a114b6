import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fmx_ml.plots.confusion import draw_confusion
from fmx_ml.plots.curves import Curve, draw_curves
from fmx_ml.plots.samples import draw_samples, lay_out
from fmx_ml.plots.style import make_figure, save, styled

FALLING = [1.5 * 0.9**n + 0.02 for n in range(60)]


def texts(figure: Figure) -> str:
    parts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return "\n".join(text.get_text() for text in parts)


def line_values(figure: Figure) -> list[NDArray[np.float64]]:
    return [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[0].lines]


def draw(*curves: Curve, quantity: str = "loss") -> Figure:
    with styled():
        return draw_curves(list(curves), title="Title", subtitle="Subtitle", quantity=quantity)


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
    with styled():
        figure = draw(Curve(values, values, 1), quantity=quantity)
        save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
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


def test_confusion_shows_every_count_and_recall() -> None:
    with styled():
        figure = draw_confusion(
            [[970, 30], [4.6, 995.4]], ["Coat", "Bag"], title="Title", subtitle="Subtitle"
        )
        figure.savefig(io.BytesIO())
    for text in ("970", "30", "4.6", "995.4"):
        assert text in texts(figure)
    recalls = [
        label.get_text()
        for axes in figure.axes[0].child_axes
        for label in axes.get_yticklabels()  # pyright: ignore[reportAttributeAccessIssue]
    ]
    assert recalls == ["97.0%", "99.5%"]


def test_samples_are_the_first_of_each_class() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 4
    sheet = lay_out(images, labels, 4)
    for label in range(4):
        for column in range(8):
            top, left = 31 * label, 31 * column
            tile = sheet[top : top + 28, left : left + 28]
            assert np.array_equal(tile, images[4 * column + label])
    assert (sheet[28:31] == 255).all()
    with styled():
        figure = draw_samples(images, labels, list("abcd"), title="Title", subtitle="Subtitle")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list("abcd")


def test_a_class_with_few_pictures_leaves_white() -> None:
    sheet = lay_out(np.zeros((3, 28, 28), dtype=np.uint8), np.array([0, 0, 1]), 2)
    assert (sheet[:28, 59:] == 255).all()
    assert (sheet[31:, :28] == 0).all()


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_equal_figures_are_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        with styled():
            save(draw(Curve(FALLING, FALLING, 60)), tmp_path / f"{name}.{suffix}")
    content = (tmp_path / f"one.{suffix}").read_bytes()
    assert content == (tmp_path / f"two.{suffix}").read_bytes()
    assert b"matplotlib.org" not in content
    assert b"<dc:date>" not in content


def test_png_has_the_size_asked_for(tmp_path: Path) -> None:
    with styled():
        save(make_figure(5, 3, "Title", "Subtitle"), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size == (800, 480)


def test_the_style_ends_with_the_figure() -> None:
    before = mpl.rcParams["svg.hashsalt"]
    with styled():
        assert mpl.rcParams["svg.hashsalt"] == "fmx"
    assert mpl.rcParams["svg.hashsalt"] == before
