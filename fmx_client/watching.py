"""Looking at a job until it has ended: long polls, as flows that both clients drive."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from fmx_client import calls
from fmx_client.errors import JobCancelledError, JobFailedError, WaitTimeoutError
from fmx_client.paths import path_to
from fmx_client.types import Epoch, Job
from fmx_client.wire import NOT_MODIFIED, READ_TIMEOUT_SECONDS, Call, Emit, Flow, Pause, Task, Wire

POLL_SECONDS = 30.0  # a long poll
PATIENCE_SECONDS = 60.0  # a server that restarts is waited for so long
_SHORTEST_POLL_SECONDS = 0.2  # a job that changes faster is looked at this often
_UNHELD_POLL_SECONDS = 1.0  # between looks, where something on the way does not hold a poll


@dataclass(frozen=True)
class _Watch:
    """Which job to look at, until when, and how long to wait for a server that is away."""

    job_id: str
    patience_seconds: float
    timeout_seconds: float
    began_at: float

    def left_seconds(self) -> float:
        return self.began_at + self.timeout_seconds - time.monotonic()


@dataclass(frozen=True)
class _Seen:
    """A job as it was seen, and the mark to ask for changes by."""

    job: Job
    etag: str | None


def _next_change(wire: Wire, watched: _Watch, seen: _Seen | None) -> Task[_Seen]:
    """The job once it differs from what was seen. Raises WaitTimeoutError."""
    while True:
        left = watched.left_seconds()
        if seen is not None and left <= 0:
            raise WaitTimeoutError(seen.job, watched.timeout_seconds)
        asked_at = time.monotonic()
        answer = yield from wire.ask(_poll(watched, seen, left))
        took = time.monotonic() - asked_at
        unchanged = answer.status == NOT_MODIFIED
        shortest = _UNHELD_POLL_SECONDS if unchanged else _SHORTEST_POLL_SECONDS
        if seen is not None and took < shortest:
            yield Pause(max(0.0, min(shortest - took, watched.left_seconds())))
        if not unchanged:
            return _Seen(answer.read(Job), answer.headers.get("etag"))


def _poll(watched: _Watch, seen: _Seen | None, left: float) -> Call:
    headers: dict[str, str] = {}
    hold = 0
    if seen is not None and seen.etag is not None:
        hold = max(1, int(min(left, POLL_SECONDS)))
        headers = {"If-None-Match": seen.etag, "Prefer": f"wait={hold}"}
    return Call(
        "GET",
        path_to("jobs", watched.job_id),
        headers=headers,
        read_timeout_seconds=READ_TIMEOUT_SECONDS + hold,
        patience_seconds=None if seen is None else watched.patience_seconds,
    )


def watch(
    wire: Wire,
    job_id: str,
    *,
    timeout_seconds: float = math.inf,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Flow[Job, None]:
    """The job now, and again whenever it has changed, until it has ended.

    A server that stops answering is waited for during `patience_seconds`. Raises WaitTimeoutError.
    """
    watched = _Watch(job_id, patience_seconds, timeout_seconds, time.monotonic())
    seen = None
    while seen is None or not seen.job.ended:
        seen = yield from _next_change(wire, watched, seen)
        yield Emit(seen.job)


def wait(
    wire: Wire,
    job_id: str,
    *,
    timeout_seconds: float = math.inf,
    check: bool = False,
    on_change: Callable[[Job], None] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Task[Job]:
    """The job when it has ended; `on_change` is called with it whenever it has changed.

    With `check`, raises JobFailedError or JobCancelledError where it did not succeed. Raises
    WaitTimeoutError.
    """
    watched = _Watch(job_id, patience_seconds, timeout_seconds, time.monotonic())
    seen = None
    while seen is None or not seen.job.ended:
        seen = yield from _next_change(wire, watched, seen)
        if on_change is not None:
            on_change(seen.job)
    if check and seen.job.state == "cancelled":
        raise JobCancelledError(seen.job)
    if check and seen.job.state != "succeeded":
        raise JobFailedError(seen.job)
    return seen.job


def follow_metrics(
    wire: Wire, run_id: str, *, patience_seconds: float = PATIENCE_SECONDS
) -> Flow[Epoch, None]:
    """Each epoch of a run as it ends, from the first to the last.

    An epoch that is trained again, because its worker was lost, comes again.
    """
    followed = yield from calls.run(wire, run_id)
    watched = _Watch(followed.job, patience_seconds, math.inf, time.monotonic())
    seen, known = None, dict[int, Epoch]()
    while True:
        seen = yield from _next_change(wire, watched, seen)
        followed = yield from calls.run(wire, run_id)
        for epoch in (yield from calls.metrics(wire, run_id)).epochs():
            if known.get(epoch.epoch) != epoch:
                known[epoch.epoch] = epoch
                yield Emit(epoch)
        if followed.ended or seen.job.ended:
            return
