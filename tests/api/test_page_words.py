"""What people read in place of values."""

from typing import Any

import pytest

from api.pages.words import NOTHING, list_shots, tell_setting
from fmx_ml.results import Figure


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.005, "0.005"),
        (1e-05, "1e-05"),
        (1_000_000, "1,000,000"),
        (True, "yes"),
        (None, NOTHING),
        ("SGD", "SGD"),
        ([6, 12], "6, 12"),
        ([], ""),
        ([[784, 32], [32, 10]], "784-32-10"),
        ([[784, 10]], "784-10"),
        ([[784, 32], [64, 10]], "784, 32, 64, 10"),
    ],
    ids=repr,
)
def test_a_setting_is_told_as_it_was_meant(value: Any, told: str) -> None:
    assert tell_setting(value) == told


def figure(number: str, *artifacts: str) -> Figure:
    return Figure(number=number, title="Accuracy", artifacts=list(artifacts))


def test_a_published_figure_has_its_number_and_an_added_one_its_title() -> None:
    titles = [
        shot.title
        for shown in (figure("3", "figure-3-confusion.png"), figure("samples", "samples.png"))
        for shot in list_shots(shown)
    ]
    assert titles == ["Figure 3: Accuracy", "Accuracy"]


def test_pictures_of_one_figure_are_told_apart() -> None:
    shots = list_shots(
        figure("20", "figure-20-val-loss.png", "figure-20-test-accuracy.png", "figure-20-a.csv")
    )
    assert [shot.title for shot in shots] == [
        "Figure 20: Accuracy (val loss)",
        "Figure 20: Accuracy (test accuracy)",
    ]
