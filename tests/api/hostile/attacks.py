"""A hostile request, and the answers that are right."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

# Where a request that is told no better has gone wrong.
REFUSED = frozenset(range(400, 500))


@dataclass(frozen=True)
class Attack:
    """A request through an HTTP client; the path may name a {model}, a {job} and its {run}."""

    path: str
    body: bytes | Callable[[], Iterator[bytes]] = b""  # the latter of a length not known before
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    method: str = "POST"
    statuses: frozenset[int] = REFUSED
    code: str | None = None
    pointer: str | None = None


@dataclass(frozen=True)
class RawAttack:
    """Bytes on a connection; what comes back begins with one of the answers, if one comes at all.

    An empty answer stands for a connection that is closed without a word.
    """

    content: bytes
    answers: tuple[int, ...] = (400,)
    may_be_silent: bool = False
