"""How a measurement is taken and told: two things in one run, interleaved, medians with spread."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Unit = Literal["ratio", "1/s", "ms", "s", "MB", "percent"]


@dataclass(frozen=True)
class Row:
    """A line of the results.

    `value` is what the row's goal speaks of, in `unit`; `spread` its lowest and highest over the
    rounds. `ours` and `other` are the medians of both sides, in seconds unless `unit` says
    otherwise; `limit_fraction` is how near ours comes to what the machine can do at most, measured
    in the same run, and `limit` names that.
    """

    name: str
    value: float
    unit: Unit
    spread: tuple[float, float]
    ours: float
    other: float | None = None
    limit_fraction: float | None = None
    limit: str | None = None
    note: str = ""


def seconds_of(work: Callable[[], object]) -> float:
    """How long a piece of work takes, on the wall clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def take_turns(sides: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """The seconds that each side tells, taken in turn, after one unmeasured round of all."""
    for side in sides:
        side()
    taken = [[side() for side in sides] for _ in range(rounds)]
    return [list(seconds) for seconds in zip(*taken, strict=True)]


def interleave(
    ours: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of both on the wall clock, as `take_turns` takes them."""
    mine, theirs = take_turns([lambda: seconds_of(ours), lambda: seconds_of(other)], rounds)
    return mine, theirs


def compare(
    name: str,
    ours: Sequence[float],
    other: Sequence[float],
    *,
    limit_seconds: float | None = None,
    limit: str | None = None,
    note: str = "",
) -> Row:
    """How many times faster ours is: the ratio of medians, its spread over the rounds."""
    ratios = sorted(b / a for a, b in zip(ours, other, strict=True))
    mine, theirs = statistics.median(ours), statistics.median(other)
    return Row(
        name=name,
        value=theirs / mine,
        unit="ratio",
        spread=(ratios[0], ratios[-1]),
        ours=mine,
        other=theirs,
        limit_fraction=None if limit_seconds is None else limit_seconds / mine,
        limit=limit,
        note=note,
    )


def peak_flops() -> float:
    """Multiply-adds counted as two, a second: the best of a few large matrix products."""
    side = 2048
    a, b = torch.rand(side, side), torch.rand(side, side)
    torch.mm(a, b)
    return 2 * side**3 / min(seconds_of(lambda: torch.mm(a, b)) for _ in range(5))


def copy_bytes_per_second() -> float:
    """Bytes read and written, a second: the best of a few copies of 256 MB."""
    source = torch.rand(64 * 1024 * 1024)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / min(seconds_of(lambda: target.copy_(source)) for _ in range(5))
