"""Rounds of work that many requests share."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from api import gathering
from api.gathering import Gatherer


class Work:
    """Answers each item with its double, while a gate is open; notes the rounds."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.rounds.append(list(items))
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return [ValueError(item) if item < 0 else 2 * item for item in items]


async def begin_round(work: Work, gatherer: Gatherer[int, int]) -> "asyncio.Task[int]":
    """A round of one item that waits at the gate."""
    work.gate.clear()
    task = asyncio.create_task(gatherer.ask(0))
    while not work.rounds:  # noqa: ASYNC110 - a thread fills it
        await asyncio.sleep(0.001)
    return task


def test_what_comes_during_a_round_is_done_in_the_next() -> None:
    async def go() -> list[int]:
        gatherer = Gatherer(work)
        first = await begin_round(work, gatherer)
        later = [asyncio.create_task(gatherer.ask(n)) for n in (1, 2, 1)]
        await asyncio.sleep(0.05)
        assert len(work.rounds) == 1
        work.gate.set()
        return await asyncio.gather(first, *later)

    work = Work()
    assert asyncio.run(go()) == [0, 2, 4, 2]
    assert work.rounds == [[0], [1, 2, 1]]


def test_a_round_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> list[int]:
        gatherer = Gatherer(work)
        first = await begin_round(work, gatherer)
        later = [asyncio.create_task(gatherer.ask(n)) for n in range(5)]
        await asyncio.sleep(0)
        work.gate.set()
        return await asyncio.gather(first, *later)

    monkeypatch.setattr(gathering, "MOST", 2)
    work = Work()
    asyncio.run(go())
    assert work.rounds == [[0], [0, 1], [2, 3], [4]]


def test_an_error_is_raised_to_the_one_whose_answer_it_is() -> None:
    async def go() -> list[object]:
        gatherer = Gatherer(work)
        asked = [gatherer.ask(n) for n in (1, -1, 2)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    work = Work()
    good, bad, fine = asyncio.run(go())
    assert (good, fine) == (2, 4)
    assert isinstance(bad, ValueError)


def test_a_round_that_fails_fails_all_of_it_and_no_other() -> None:
    async def go() -> None:
        gatherer = Gatherer(work)
        work.error = OSError("away")
        failed = await asyncio.gather(*(gatherer.ask(n) for n in (1, 2)), return_exceptions=True)
        assert failed == [work.error] * 2
        work.error = None
        assert await gatherer.ask(3) == 6

    work = Work()
    asyncio.run(go())


def test_whoever_gives_up_takes_nothing_from_the_others() -> None:
    async def go() -> None:
        gatherer = Gatherer(work)
        first = await begin_round(work, gatherer)
        leaving, staying = (asyncio.create_task(gatherer.ask(n)) for n in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        leaving.cancel()
        await asyncio.sleep(0)
        work.gate.set()
        assert await staying == 4

    work = Work()
    asyncio.run(go())
