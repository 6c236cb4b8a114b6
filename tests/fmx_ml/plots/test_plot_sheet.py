"""All configurations on one page."""

import pytest
from matplotlib.figure import Figure
from plot_cases import assert_readable, labels, texts

from fmx_ml.plots import sheet
from fmx_ml.plots.recipes import Curve, CurveSheet, Panel
from fmx_ml.plots.render import draw
from fmx_ml.plots.sheet import letter


def make_panel(number: int, *, epochs: int = 60, floor: float = 0.02, seeds: int = 1) -> Panel:
    losses = [1.5 * 0.9**n + floor for n in range(epochs)]
    accuracies = [1 - 0.3 * loss for loss in losses]
    return Panel(
        f"{number}: 2 conv, 2 dense, AdamW 0.005, decay 0.01",
        [Curve(losses, [loss + 0.01 for loss in losses], epochs)] * seeds,
        [Curve(accuracies, [value - 0.01 for value in accuracies], epochs)] * seeds,
    )


def draw_sheet(*panels: Panel) -> Figure:
    return draw(CurveSheet(title="Title", subtitle="Subtitle", panels=panels))


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_ten_models_fit_a_page_and_have_letters_a_to_t() -> None:
    figure = draw_sheet(*(make_panel(number, floor=0.02 * number) for number in range(1, 11)))
    assert_readable(figure)
    width, height = figure.get_size_inches()
    assert height / width < 297 / 210
    assert [title[:3] for title in titles(figure)] == [f"({c})" for c in "abcdefghijklmnopqrst"]
    assert titles(figure)[:2] == ["(a) loss 0.0330", "(b) accuracy 0.9831"]
    assert "10: 2 conv, 2 dense, AdamW 0.005, decay 0.01" in texts(figure)


@pytest.mark.parametrize("num_panels", [1, 2, 5])
def test_few_models_make_a_low_sheet(num_panels: int) -> None:
    figure = draw_sheet(*(make_panel(number, seeds=3) for number in range(num_panels)))
    assert_readable(figure)
    assert len(figure.axes) == 2 * num_panels
    rows = -(-num_panels // 2)
    assert figure.get_size_inches()[1] == pytest.approx(1.6 + 1.78 * rows)


def test_no_models_are_said_to_be_none() -> None:
    figure = draw_sheet()
    assert_readable(figure)
    assert "nothing to show" in texts(figure)


def test_more_models_than_a_picture_holds_are_cut_and_the_sheet_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sheet.MAX_PANELS == 100
    monkeypatch.setattr(sheet, "MAX_PANELS", 3)
    figure = draw_sheet(*(make_panel(number, epochs=3) for number in range(5)))
    assert_readable(figure)
    assert len(figure.axes) == 6
    assert "the first 3 of 5 configurations" in texts(figure)


def test_losses_share_a_scale_and_so_do_accuracies() -> None:
    figure = draw_sheet(make_panel(1), make_panel(2, epochs=5), make_panel(3, floor=0.1))
    losses, accuracies = figure.axes[::2], figure.axes[1::2]
    assert len({axes.get_ylim() for axes in losses}) == 1
    assert {axes.get_yscale() for axes in losses} == {"log"}
    assert len({axes.get_ylim() for axes in accuracies}) == 1
    assert all(len(labels(axes, "y")) >= 2 for axes in figure.axes)


def test_one_failed_model_leaves_the_others_their_room() -> None:
    chance = [0.2] * 20
    failed = Panel("failed", [Curve([1.6] * 20, [1.6] * 20, 1)], [Curve(chance, chance, 1)])
    figure = draw_sheet(*(make_panel(number) for number in range(5)), failed)
    assert_readable(figure)
    assert figure.axes[1].get_ylim()[0] > 0.8
    assert "all below" in texts(figure)
    assert "are not shown" in texts(figure)
    assert "(l) accuracy 0.2000" in titles(figure)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_figures_and_single_epochs_can_be_drawn(value: float) -> None:
    curve = [Curve([value], [value], 1)]
    figure = draw_sheet(Panel("one epoch", curve, curve), Panel("nothing", [], []))
    assert_readable(figure)
    low, high = figure.axes[1].get_ylim()
    assert low < value < high


def test_letters_go_on_after_z() -> None:
    assert [letter(number) for number in (0, 25, 26, 51, 52, 701, 702)] == [
        "a", "z", "aa", "az", "ba", "zz", "aaa",
    ]  # fmt: skip
