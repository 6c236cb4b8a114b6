"""What the pages' scripts compute, in the browser that runs them."""

import json
import math
from typing import Any

import pytest
from page_kit import Visit
from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def page(at: Visit) -> Page:
    return at.go("/workers")


def call(page: Page, module: str, function: str, *arguments: Any) -> Any:
    """What a function of a module answers."""
    script = """async ([module, name, given]) => {
        const found = await import(`/static/${module}.js`);
        const answer = found[name](...given);
        return answer === undefined ? null : answer;
    }"""
    return page.evaluate(script, [module, function, list(arguments)])


BASE = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": {"f": "x"}}
OVER: list[Any] = [
    {},
    {"a": 2},
    {"b": {"c": [2]}},
    {"b": None},
    {"b": {"d": {"new": 1}}},
    {"e": {"f": ""}, "g": {"h": True}},
]


@pytest.mark.parametrize("over", OVER, ids=json.dumps)
def test_what_differs_makes_the_same_request_again(page: Page, over: Any) -> None:
    whole = call(page, "requests", "merge", BASE, over)
    changed = call(page, "requests", "differ", whole, BASE)
    assert changed == (over or None)
    assert call(page, "requests", "merge", BASE, changed or {}) == whole


def test_places_are_found(page: Page) -> None:
    assert call(page, "requests", "lookUp", BASE, "/b/c") == [1, 2]
    for pointer in ("/b/x", "/x/y/z", "/a/b", "/b/d/e"):
        assert call(page, "requests", "lookUp", BASE, pointer) is None


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.98])
def test_smoothing_is_a_mean_of_what_came_before(page: Page, weight: float) -> None:
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    found = call(page, "curves", "smooth", values, weight)
    for i, value in enumerate(found):
        weights = [weight ** (i - j) for j in range(i + 1)]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert math.isclose(value, expected, rel_tol=1e-9)


def test_curves_of_different_epochs_share_an_axis(page: Page) -> None:
    curves = [[[1, 3], [0.5, 0.25]], [[2, 3, 9], [1, 2, 3]]]
    assert call(page, "curves", "align", curves) == [
        [1, 2, 3, 9],
        [0.5, None, 0.25, None],
        [None, 1, 2, 3],
    ]
    assert call(page, "curves", "align", []) == [[]]


def test_few_runs_are_asked_for_in_full_and_many_are_thinned(page: Page) -> None:
    asked = [call(page, "curve-area", "pointsFor", number) for number in (0, 1, 100, 500, 1000)]
    assert asked == [400, 400, 300, 60, 40]
