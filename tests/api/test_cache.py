"""The cache that keeps models in memory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.predict.cache import OnceCache


def test_many_who_ask_for_a_value_get_the_one_that_is_made() -> None:
    cache = OnceCache[object](2)
    made: list[object] = []
    gate = threading.Event()

    def make() -> object:
        gate.wait(10)
        made.append(object())
        return made[-1]

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(cache.get, "a", make) for _ in range(8)]
        gate.set()
        values = {future.result() for future in futures}
    assert values == set(made)
    assert len(made) == 1


def test_what_fails_is_tried_again() -> None:
    cache = OnceCache[str](2)

    def fail() -> str:
        raise OSError

    for _ in range(2):
        with pytest.raises(OSError):  # noqa: PT011 - no other can come
            cache.get("a", fail)
    assert len(cache) == 0
    assert cache.get("a", lambda: "fine") == "fine"


def test_the_least_recently_used_leaves() -> None:
    cache = OnceCache[str](2)
    for key in ("a", "b", "a", "c"):
        cache.get(key, lambda key=key: key)
    assert cache.get("a", lambda: "made again") == "a"
    assert cache.get("b", lambda: "made again") == "made again"
