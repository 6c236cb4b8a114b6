"""Token buckets: how much of something each client may have a second."""

import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil

from api.problems import ProblemError, refuse

MAX_KEPT = 10_000  # names; whoever was away for the longest starts with a full bucket again


class Buckets:
    """A bucket for each name, which holds `burst` tokens and gets `a_second` of them.

    To be used in the event loop's thread.
    """

    def __init__(
        self, a_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Every bucket is full."""
        self._a_second, self._burst, self._clock = a_second, burst, clock
        self._found: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def look(self, name: str) -> float:
        """The seconds until there is a token; 0 where there is one."""
        return self._wait(self._tokens(name, self._clock()))

    def take(self, name: str) -> float:
        """Takes a token; answers the seconds until there is one, 0 where there was."""
        at = self._clock()
        tokens = self._tokens(name, at)
        wait = self._wait(tokens)
        self._found[name] = (tokens if wait else tokens - 1, at)
        self._found.move_to_end(name)
        while len(self._found) > MAX_KEPT:
            self._found.popitem(last=False)
        return wait

    def _tokens(self, name: str, at: float) -> float:
        tokens, since = self._found.get(name, (self._burst, at))
        return min(self._burst, tokens + (at - since) * self._a_second)

    def _wait(self, tokens: float) -> float:
        return 0.0 if tokens >= 1 else (1 - tokens) / self._a_second


def make_buckets(number: int | None, seconds: float = 1.0) -> Buckets | None:
    """Buckets for so many in so many seconds, all of them at once if a client likes; None: any."""
    return Buckets(number / seconds, number) if number else None


def too_many(what: str, wait_seconds: float) -> ProblemError:
    """The error of a client that asks for more than its rate."""
    headers = {"Retry-After": str(ceil(wait_seconds))}
    return refuse(429, "too_many_requests", f"too many {what}: slow down", headers=headers)
