import pytest

from fmx_ml.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.98164, "0.9816"),
        (-0.5, "−0.5000"),  # noqa: RUF001 - a minus sign, not a hyphen
        (0.0, "0.0000"),
        (0.000032, "3.2 × 10⁻⁵"),  # noqa: RUF001 - a multiplication sign
        (205.0, "205"),
        (12.25, "12.2"),
        (25000.0, "25,000"),
        (float("nan"), "–"),  # noqa: RUF001 - an en dash
        (float("inf"), "∞"),
    ],
)
def test_a_figure_has_four_decimals_unless_it_is_large_or_tiny(value: float, text: str) -> None:
    assert formats.format_number(value) == text


def test_a_published_figure_keeps_its_digits() -> None:
    assert formats.decimals_of([0.5]) == 4
    assert formats.decimals_of([0.02155]) == 5
    assert formats.decimals_of([0.942715, 0.93]) == 6
    assert formats.decimals_of([1 / 3]) == 6
    assert formats.decimals_of([205.123456]) == 4


def test_a_deviation_keeps_the_decimals_of_its_figure() -> None:
    assert formats.format_deviation(0.00001) == "0.0000"
    assert formats.format_deviation(0.00014, 5) == "0.00014"
    assert formats.format_deviation(12.5) == "12.5"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(6.14, "6.1 s"), (12.4, "12 s"), (185.0, "3 min 05 s"), (3600 * 31 + 245, "31 h 04 min 05 s")],
)
def test_a_time_is_in_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert formats.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("epochs", True),
        ("best_epoch", True),
        ("q1.best_epoch", True),
        ("epochs of model 2 until its best", True),
        ("", False),
        ("test, last epoch", False),
        ("test_loss_last_epoch", False),
        ("epochs_per_second", False),
    ],
)
def test_numbers_of_epochs_are_told_from_figures_of_an_epoch(name: str, counts: bool) -> None:
    assert formats.counts_epochs(name) is counts


def test_names_become_words() -> None:
    assert formats.say_words("val_loss_std") == "validation loss deviation"
    assert formats.say_cell("max_epochs") == "max epochs"
    assert formats.say_cell("model_3") == "model_3"
    assert formats.list_words(["a"]) == "a"
    assert formats.list_words(["a", "b", "c"]) == "a, b and c"
    assert [formats.count(n, "run") for n in (0, 1, 2)] == ["no runs", "1 run", "2 runs"]
