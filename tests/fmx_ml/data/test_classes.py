import pytest
from torchvision.datasets import FashionMNIST

from fmx_ml.data.classes import CLASS_NAMES, HALVES, class_name, names_of, to_class_index, to_label
from fmx_ml.published import published_figures
from fmx_ml.specs import Half


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


@pytest.mark.parametrize("half", ["fm1", "fm2"])
def test_mapping_goes_both_ways(half: Half) -> None:
    for label in range(5):
        assert to_label(half, to_class_index(half, label)) == label
    assert [to_class_index(half, label) for label in range(5)] == list(HALVES[half])


def test_mapping_refuses_what_the_half_does_not_have() -> None:
    with pytest.raises(ValueError, match="fm1 has no class 2"):
        to_label("fm1", 2)
    for label in (-1, 5):
        with pytest.raises(ValueError, match="has no label"):
            to_class_index("fm1", label)


def test_synthetic_classes_say_that_they_are() -> None:
    assert class_name("synthetic", 8) == "synthetic 8"
    assert names_of("synthetic", "fm2")[0] == "synthetic 2"
