"""Identifiers: unique, in order, and nothing else passes for one."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest

from fmx_store import ids


def test_ids_sort_by_the_order_they_were_made_in() -> None:
    made = [ids.new_id() for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(ids.is_id(identity) for identity in made)


def test_an_id_begins_with_its_time() -> None:
    """As the ULID specification has it: 48 bits of milliseconds, then 80 random ones."""
    with mock.patch.object(ids, "_last", 0):
        for milliseconds, text in ((0, "0000000000"), (1469918176385, "01ARYZ6S41")):
            with mock.patch.object(ids, "_milliseconds", return_value=milliseconds):
                assert ids.new_id()[:10] == text


def test_ids_made_apart_have_random_ends() -> None:
    with mock.patch.object(ids, "_milliseconds", return_value=1000):
        ends: set[str] = set()
        for _ in range(100):
            with mock.patch.object(ids, "_last", 0):
                ends.add(ids.new_id()[10:])
    assert len(ends) == 100


def test_ids_are_unique_over_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: [ids.new_id() for _ in range(500)], range(8)))
    assert len({identity for part in parts for identity in part}) == 4000
    assert all(part == sorted(part) for part in parts)


def test_ids_go_on_in_order_when_the_clock_goes_back() -> None:
    before = ids.new_id()
    with mock.patch.object(ids, "_milliseconds", return_value=1000):
        after = [ids.new_id() for _ in range(10)]
    assert [before, *after] == sorted({before, *after})


def test_a_fork_makes_other_ids() -> None:
    """With the clock standing still, so that both count on from the same one."""
    script = """
import os
from unittest import mock
from fmx_store import ids
first = ids.new_id()
with mock.patch.object(ids, "_milliseconds", return_value=1000):
    child = os.fork()
    os.write(1, " ".join(["", *(ids.new_id() for _ in range(100))]).encode())
    if child:
        os.waitpid(child, 0)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    made = done.stdout.split()
    assert len(made) == 200
    assert len(set(made)) == 200


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "0" * 25 + " ", "0" * 25 + "é", "\0" * 26]
)
def test_what_is_no_id_does_not_pass(text: str) -> None:
    assert not ids.is_id(text)
