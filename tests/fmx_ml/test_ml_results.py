import math
import statistics

import pytest

from fmx_ml.results import compare, prediction_interval, spread


def test_spread() -> None:
    values = [0.98, 0.99, 0.97]
    ours = spread(values)
    assert ours.mean == pytest.approx(0.98)
    assert ours.std == pytest.approx(statistics.stdev(values))
    assert (ours.n, ours.values) == (3, values)
    assert spread([0.5]).std == 0


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (4, 3.182), (32, 2.040)])
def test_the_interval_is_that_of_one_more_run(n: int, t: float) -> None:
    ours = spread([0.98 + 0.001 * k for k in range(n)])
    low, high = prediction_interval(ours)
    half = t * ours.std * math.sqrt(1 + 1 / n)
    assert (low, high) == (pytest.approx(ours.mean - half), pytest.approx(ours.mean + half))


def test_inside_and_outside() -> None:
    values = [0.980, 0.982, 0.984]
    assert compare("x", 0.983, values).verdict == "inside"
    assert compare("x", 0.5, values).verdict == "outside"
    assert compare("x", 0.5, values).reason is None


def test_rounding_widens_the_interval_by_half_a_digit() -> None:
    equal = [0.98163, 0.98163]
    assert compare("x", 0.9816, equal).verdict == "outside"
    assert compare("x", 0.9816, equal, decimals=4).verdict == "inside"
    assert compare("x", 0.9815, equal, decimals=4).verdict == "outside"


@pytest.mark.parametrize(
    ("published", "values", "incomparable", "reason"),
    [
        (0.98, [0.98, 0.99], "another spec", "another spec"),
        (None, [0.98, 0.99], None, "the report has no such figure"),
        (0.98, [0.98], None, "one run has no spread: ask for two seeds or more"),
        (0.98, [], None, "one run has no spread: ask for two seeds or more"),
    ],
)
def test_what_can_not_be_compared_says_why(
    published: float | None, values: list[float], incomparable: str | None, reason: str
) -> None:
    comparison = compare("x", published, values, incomparable=incomparable, errata=[1])
    assert comparison.verdict == "not_comparable"
    assert comparison.reason == reason
    assert comparison.errata == [1]
    assert (comparison.ours is None) == (not values)
