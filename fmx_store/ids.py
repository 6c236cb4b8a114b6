"""Identifiers that sort by the time they were made: ULIDs, which are made very often here.

Their random bits come from a generator of this process's own: asking the system for them lets
other threads go first, each time.
"""

import os
import random
import threading
import time

ID_LENGTH = 26

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]  # of ten bits each
_SHIFTS = range(120, -1, -10)

_RANDOM_BITS = 80
_STEP_BITS = 32  # so that a process and its fork do not count on in the same steps

_lock = threading.Lock()
_random = random.Random()  # noqa: S311 - an id must be unique, it is no secret
_last = 0


def _go_on_in_child() -> None:
    _random.seed()
    _lock.release()


os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_go_on_in_child
)


def new_id() -> str:
    """A ULID: 26 characters, unique over all machines, later than every one this process made."""
    global _last  # noqa: PLW0603 - the order within a millisecond, or while the clock goes back
    with _lock:
        fresh = _milliseconds() << _RANDOM_BITS | _random.getrandbits(_RANDOM_BITS)
        value = _last = max(fresh, _last + 1 + _random.getrandbits(_STEP_BITS))
    return "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])


def _milliseconds() -> int:
    """Since 1970."""
    return time.time_ns() // 1_000_000


def is_id(text: str) -> bool:
    """Whether a client's text has the form of an identifier, so that it may reach a query."""
    return len(text) == ID_LENGTH and text.isascii() and text.isalnum()
