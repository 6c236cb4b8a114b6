"""Identifiers that sort by the time they were made."""

import os
import secrets
import threading

from ulid import ULID

ID_LENGTH = 26
_STEP_BITS = 32  # so that a process and its fork do not count on in the same steps

_lock = threading.Lock()
_last = 0

os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


def new_id() -> str:
    """A ULID: 26 characters, unique over all machines, later than every one this process made."""
    global _last  # noqa: PLW0603 - the order within a millisecond, or while the clock goes back
    with _lock:
        _last = max(int(ULID()), _last + 1 + secrets.randbits(_STEP_BITS))
        return str(ULID.from_int(_last))


def is_id(text: str) -> bool:
    """Whether a client's text has the form of an identifier, so that it may reach a query."""
    return len(text) == ID_LENGTH and text.isascii() and text.isalnum()
