"""How measurements become rows."""

import pytest

from benchmarks.goals import GOALS, Goal
from benchmarks.measuring import compare, interleave, take_turns


def test_a_ratio_is_that_of_medians() -> None:
    row = compare("x", [1.0, 2.0, 4.0], [8.0, 10.0, 6.0], limit_seconds=0.5, limit="wire")
    assert (row.value, row.ours, row.other) == (4.0, 2.0, 8.0)
    assert row.spread == (1.5, 8.0)  # round by round: 8, 5, 1.5
    assert (row.limit_fraction, row.limit, row.unit) == (0.25, "wire", "ratio")


def test_without_a_limit_there_is_no_fraction() -> None:
    assert compare("x", [1.0], [1.0]).limit_fraction is None


def test_sides_take_turns_after_a_round_that_is_not_measured() -> None:
    calls: list[str] = []

    def side(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    taken = take_turns([lambda: side("a"), lambda: side("b")], 2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert taken == [[3.0, 5.0], [4.0, 6.0]]


def test_interleaved_work_is_timed_on_the_wall_clock() -> None:
    calls: list[str] = []
    ours, other = interleave(lambda: calls.append("a"), lambda: calls.append("b"), 3)
    assert calls == ["a", "b"] * 4
    assert len(ours) == len(other) == 3
    assert min(*ours, *other) >= 0


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal(30, 50), 50, "aim"),
        (Goal(30, 50), 49.9, "yes"),
        (Goal(30, 50), 29.9, "no"),
        (Goal(2), 1_000, "yes"),
        (Goal(60, 20, lower_is_better=True), 20, "aim"),
        (Goal(60, 20, lower_is_better=True), 60, "yes"),
        (Goal(60, 20, lower_is_better=True), 60.1, "no"),
    ],
)
def test_verdicts(goal: Goal, value: float, verdict: str) -> None:
    assert goal.verdict(value) == verdict


def test_an_aim_asks_for_more_than_is_needed() -> None:
    for name, goal in GOALS.items():
        if goal.aim is not None:
            assert (goal.aim < goal.needed) == goal.lower_is_better, name
