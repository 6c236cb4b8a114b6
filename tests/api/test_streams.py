"""Reads that many streams share, and the places that they take."""

import asyncio
import threading
import time

import pytest

from api.problems import ProblemError
from api.streams import READERS, Places, SharedReads
from fmx_store.settings import Settings


class Source:
    """Something that is slow to read, and counts who reads it."""

    def __init__(self) -> None:
        self.num_reads = self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def read(self) -> int:
        with self._lock:
            self.num_reads += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(0.05)
        with self._lock:
            self._now -= 1
        return self.num_reads


def test_who_asks_for_what_is_being_read_gets_that() -> None:
    source = Source()

    async def ask() -> list[int]:
        reads = SharedReads[int]()
        first = await asyncio.gather(*(reads.get("a", source.read) for _ in range(50)))
        return [*first, await reads.get("a", source.read)]

    assert asyncio.run(ask()) == [1] * 50 + [2]


def test_few_threads_read_for_all() -> None:
    source = Source()

    async def ask() -> None:
        reads = SharedReads[int]()
        await asyncio.gather(*(reads.get(key, source.read) for key in range(10)))

    asyncio.run(ask())
    assert (source.num_reads, source.most_at_once) == (10, READERS)


def test_a_read_that_fails_fails_for_all_and_is_begun_again() -> None:
    def fail() -> int:
        time.sleep(0.05)
        raise ConnectionError("away")

    async def ask() -> list[int | BaseException]:
        reads = SharedReads[int]()
        failed = [reads.get("a", fail) for _ in range(3)]
        found = await asyncio.gather(*failed, return_exceptions=True)
        return [*found, await reads.get("a", lambda: 7)]

    *failures, last = asyncio.run(ask())
    assert [str(failure) for failure in failures] == ["away"] * 3
    assert last == 7


def test_one_who_leaves_takes_the_read_from_nobody() -> None:
    source = Source()

    async def ask() -> int:
        reads = SharedReads[int]()
        leaving, staying = (asyncio.create_task(reads.get("a", source.read)) for _ in range(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        return await staying

    assert asyncio.run(ask()) == 1


def test_a_place_is_free_again_whatever_ends_its_stream() -> None:
    places = Places(Settings(max_streams=2, max_streams_per_owner=1))
    for error in (None, RuntimeError("it broke")):
        try:
            with places.one("ada"), places.one("bob"):
                for owner, status in (("ada", 429), ("eve", 503)):
                    with pytest.raises(ProblemError) as refused, places.one(owner):
                        pass
                    assert refused.value.problem.status == status
                if error:
                    raise error
        except RuntimeError:
            pass
    with places.one("ada"):
        pass
