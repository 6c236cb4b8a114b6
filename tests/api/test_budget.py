"""A budget that threads share: no more is taken at once than there is."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_service import wait_until

from fmx_ml.data.budget import Budget


def test_who_wants_more_than_is_left_waits() -> None:
    budget, release, taken = Budget(), threading.Event(), list[int]()

    def hold(amount: int) -> None:
        with budget.take(amount, of=10):
            taken.append(amount)
            release.wait(20)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(hold, 6)
        wait_until(lambda: taken == [6], 10)
        second = pool.submit(hold, 5)
        small = pool.submit(hold, 4)
        wait_until(lambda: taken == [6, 4], 10)
        assert not second.done()
        release.set()
        for done in (first, small, second):
            done.result(10)
    assert taken == [6, 4, 5]


def test_a_lone_one_gets_more_than_there_is() -> None:
    with Budget().take(11, of=10):
        pass


def test_what_fails_gives_back() -> None:
    budget = Budget()
    with pytest.raises(ValueError, match="no"), budget.take(10, of=10):
        raise ValueError("no")
    with budget.take(10, of=10):
        pass
