import pytest
from pydantic import ValidationError
from torchvision.datasets import FashionMNIST

from fmx_ml.data.classes import CLASS_NAMES, HALVES, all_names, classes_of, names_of
from fmx_ml.published import published_figures
from fmx_ml.specs import OwnDataset


def test_halves_are_the_reports() -> None:
    data = published_figures("q1")["data"]
    assert list(HALVES["fm1"]) == data["fm1_classes"]
    assert list(HALVES["fm2"]) == data["fm2_classes"]
    assert list(names_of("fashion-mnist", "fm1")) == data["fm1_names"]
    assert list(names_of("fashion-mnist", "fm2")) == data["fm2_names"]


def test_halves_share_no_class_and_leave_none_out() -> None:
    assert sorted(HALVES["fm1"] + HALVES["fm2"]) == list(range(10))


def test_names_are_the_data_sets() -> None:
    assert list(CLASS_NAMES) == FashionMNIST.classes


def test_an_own_data_sets_halves_are_as_it_says_and_what_is_left() -> None:
    digits = OwnDataset(
        name="digits", sha256="0" * 64, class_names=tuple("abcde"), first_half=(4, 0)
    )
    assert classes_of(digits, "fm1") == (4, 0)
    assert names_of(digits, "fm1") == ("e", "a")
    assert classes_of(digits, "fm2") == (1, 2, 3)
    assert names_of(digits, "fm2") == ("b", "c", "d")


@pytest.mark.parametrize(
    ("first_half", "says"),
    [
        ((0,), "each half has two classes"),
        ((0, 1, 2, 3), "each half has two classes"),
        ((0, 0), "each once"),
        ((0, 5), "each once"),
        ((-1, 2), "each once"),
    ],
)
def test_halves_that_are_none_are_refused(first_half: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        OwnDataset(name="x", sha256="0" * 64, class_names=tuple("abcde"), first_half=first_half)


def test_synthetic_classes_say_that_they_are() -> None:
    assert all_names("synthetic")[8] == "synthetic 8"
    assert names_of("synthetic", "fm2")[0] == "synthetic 2"
