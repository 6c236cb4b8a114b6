"""Quotas: how many runs may wait and how many bytes may be stored, in all and of an owner.

What is used is counted at most once in a while, in the transaction that records jobs, and what
that transaction adds is added by hand. Where a job would be refused it is counted anew, so a
process that submits alone is exact; several servers on PostgreSQL may pass a bound by what they
record in the same moment.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, func, select

from fmx_store.errors import QuotaError
from fmx_store.new_jobs import NewJob
from fmx_store.settings import Settings
from fmx_store.states import Role, State
from fmx_store.tables import Artifact, Blob, Job, Run, table_of

RUNS_SECONDS = 1.0  # so long a count of waiting runs is good
BYTES_SECONDS = 10.0  # a sum over all files takes longer, and changes more slowly

_ARTIFACT, _BLOB = table_of(Artifact), table_of(Blob)
_JOB, _RUN = table_of(Job), table_of(Run)

Owner: TypeAlias = str | None
"""Whose; None: of all together."""

_QUEUED = (
    select(func.count())
    .select_from(_RUN)
    .where(_RUN.c.state == State.QUEUED, _RUN.c.role == Role.TRAINING)
)


def count_queued(connection: Connection, owner: Owner) -> int:
    """Trainings that wait."""
    query = _QUEUED
    if owner is not None:
        query = query.join(_JOB, _JOB.c.id == _RUN.c.job_id).where(
            _JOB.c.owner == owner, _JOB.c.state.in_([State.QUEUED, State.RUNNING])
        )
    return connection.execute(query).scalar_one()


def sum_stored(connection: Connection, owner: Owner) -> int:
    """Bytes of all blobs; of an owner, of the files of their jobs, each job's for itself."""
    query = select(func.coalesce(func.sum(_BLOB.c.size_bytes), 0))
    if owner is not None:
        query = (
            select(func.coalesce(func.sum(_ARTIFACT.c.size_bytes), 0))
            .join(_JOB, _JOB.c.id == _ARTIFACT.c.job_id)
            .where(_JOB.c.owner == owner)
        )
    return int(connection.execute(query).scalar_one())


class _Usage:
    """What is used of one thing, by owner, as it was counted a moment ago."""

    def __init__(
        self, count: Callable[[Connection, Owner], int], seconds: float, *, recounts: bool
    ) -> None:
        self._count, self._seconds, self._recounts = count, seconds, recounts
        self._known: dict[Owner, tuple[int, float]] = {}

    def look(self, connection: Connection, owner: Owner, limit: int) -> int:
        """What is used; counted anew where it is old, or where it reaches the limit."""
        used, at = self._known.get(owner, (0, float("-inf")))
        if time.monotonic() - at > self._seconds or (self._recounts and used > limit):
            used = self._count(connection, owner)
            self._known[owner] = (used, time.monotonic())
        return used

    def add(self, owner: Owner, number: int) -> None:
        """What was just recorded."""
        if owner in self._known:
            used, at = self._known[owner]
            self._known[owner] = (used + number, at)


class Quotas:
    """Refuses jobs for which there is no place. To be used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is counted yet."""
        self._settings = settings
        self._runs = _Usage(count_queued, RUNS_SECONDS, recounts=True)
        self._bytes = _Usage(sum_stored, BYTES_SECONDS, recounts=False)

    def refuse(self, connection: Connection, new: Sequence[NewJob]) -> dict[str, QuotaError]:
        """The errors of those jobs, by id, that may not be recorded; the others are about to be."""
        refused: dict[str, QuotaError] = {}
        pending = defaultdict[Owner, int](int)
        for item in new:
            owner: str | None = item.job["owner"]
            error = self._find_excess(connection, owner, len(item.runs), pending)
            if error is not None:
                refused[item.id] = error
                continue
            for whose in {None, owner}:
                pending[whose] += len(item.runs)
        for whose, number in pending.items():
            self._runs.add(whose, number)
        return refused

    def _find_excess(
        self, connection: Connection, owner: Owner, num_runs: int, pending: Mapping[Owner, int]
    ) -> QuotaError | None:
        chosen = self._settings
        limits: list[tuple[Owner, int, int]] = [
            (None, chosen.max_queued_runs, chosen.max_stored_bytes)
        ]
        if owner is not None:
            mine = (chosen.max_queued_runs_per_owner, chosen.max_stored_bytes_per_owner)
            limits.append((owner, *mine))
        for whose, max_runs, max_bytes in limits:
            asked = pending.get(whose, 0) + num_runs
            if (
                max_runs
                and (used := self._runs.look(connection, whose, max_runs - asked)) + asked
                > max_runs
            ):
                waiting = used + pending.get(whose, 0)
                return QuotaError("queued runs", whose, waiting, num_runs, max_runs)
            if max_bytes and (used := self._bytes.look(connection, whose, max_bytes)) >= max_bytes:
                return QuotaError("stored bytes", whose, used, 0, max_bytes)
        return None
