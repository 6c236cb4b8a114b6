"""The protocol under ten thousand schedules, with every guard and without each of them."""

import os

import pytest
from guards import Guards
from schedules import ALL, Schedule, explore

SCHEDULES = 10_000
# Another number explores other schedules.
SEED = int(os.environ.get("PROTOCOL_SEED", "0"))
SEEDS = range(SEED, SEED + SCHEDULES)


def test_ten_thousand_schedules_break_nothing() -> None:
    wrong = explore(SEEDS)
    assert wrong is None, f"\n{wrong}"


@pytest.mark.parametrize("guard", Guards.names())
def test_a_guard_that_is_missing_is_noticed(guard: str) -> None:
    assert explore(SEEDS, ALL.without(guard)) is not None


def test_a_seed_is_a_schedule() -> None:
    first, second = (Schedule(7, traced=True).run() for _ in range(2))
    assert first == second
    assert len(first.trace) > 5
    assert first != Schedule(8, traced=True).run()
