"""Counts of what was answered, and how fast. To be used in the event loop's thread.

Plain sums, since every request goes through here: what Prometheus wants is made of them when it
asks.
"""

import functools
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

ROUTE = (
    "fmx.route"  # where an ASGI scope has the template of its path, if no framework put it there
)
UNKNOWN = "none"  # the route of what is refused before one was looked for, or has none

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the times that answers are told apart by."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD = "other"

Answered = tuple[str, str, int]  # method, route, status


@dataclass
class Times:
    """How long some answers took: how many within each bound and beyond all, and in all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one more."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds


class Traffic:
    """The requests of a server since it started."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.answered: dict[Answered, Times] = {}
        self.streams: Counter[str] = Counter()

    def note(
        self, scope: MutableMapping[str, Any], method: str, status: int, seconds: float
    ) -> None:
        """Counts an answer. There are as many keys as the server has routes and statuses."""
        key = (method if method in _METHODS else _OTHER_METHOD, route_of(scope), status)
        times = self.answered.get(key)
        if times is None:
            times = self.answered[key] = Times()
        times.add(seconds)


def route_of(scope: MutableMapping[str, Any]) -> str:
    """The template of a request's path, such as /v1/jobs/{job_id}."""
    known: str | None = scope.get(ROUTE)
    if known is not None:
        return known
    # A route of a router that was included in another knows the end of its path alone.
    whole = scope.get("fastapi", {}).get("effective_route_context")
    found: str | None = getattr(whole or scope.get("route"), "path", None)
    return _without_types(found) if found else UNKNOWN


@functools.cache
def _without_types(template: str) -> str:
    return re.sub(r":\w+}", "}", template)
