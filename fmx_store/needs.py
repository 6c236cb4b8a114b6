"""Which runs of a job wait for which: as few rows as say it, and all that follows from them.

A trial of a search needs every trial of the generations before its own, which makes half a million
needs of a thousand trials. What a need's own needs imply is not written, and found again by going
from row to row.
"""

from collections.abc import Collection, Sequence

from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from fmx_ml.trainings import PlannedRun
from fmx_store.database import Database
from fmx_store.tables import Run, RunNeed


def reduce_needs(planned: Sequence[PlannedRun], done: Collection[str]) -> dict[str, list[str]]:
    """Of each run, by name, the needs that no other need of its own waits for.

    Runs that are done wait for nothing. Raises KeyError for a need that is not planned before.
    """
    bits = {run.name: 1 << position for position, run in enumerate(planned)}
    awaited: dict[str, int] = {}  # all that a run waits for, directly or not, as bits
    reduced: dict[str, list[str]] = {}
    for run in planned:
        kept: list[str] = []
        implied = 0
        for name in reversed(run.needs if run.name not in done else ()):
            if not implied & bits[name]:
                kept.append(name)
                implied |= awaited[name]
        reduced[run.name] = kept
        awaited[run.name] = implied | sum(bits[name] for name in kept)
    return reduced


def list_needed(db: Database, run_id: str) -> Sequence[Run]:
    """The runs that must have succeeded before a run, directly or through others, as planned."""
    needed = select(RunNeed.needs_id).where(RunNeed.run_id == run_id).cte(recursive=True)
    theirs = select(RunNeed.needs_id).join(needed, col(RunNeed.run_id) == needed.c.needs_id)
    needed = needed.union(theirs)
    query = select(Run).join(needed, col(Run.id) == needed.c.needs_id).order_by(col(Run.position))
    with db.read() as session:
        return session.exec(query).all()


def find_waiting(run_id: str) -> SelectOfScalar[str]:
    """A query for the runs that wait for a run, directly or through others."""
    found = select(RunNeed.run_id).where(RunNeed.needs_id == run_id).cte(recursive=True)
    theirs = select(RunNeed.run_id).join(found, col(RunNeed.needs_id) == found.c.run_id)
    return select(found.union(theirs).c.run_id)
