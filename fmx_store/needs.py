"""Which runs of a job wait for which: as few rows as say it, and all that follows from them.

A trial of a search needs every trial of the generations before its own, which makes half a million
needs of a thousand trials. What a need's own needs imply is not written, and found again by going
from row to row.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from fmx_ml.trainings import PlannedRun
from fmx_store.database import Database
from fmx_store.states import Role
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


def list_needed(db: Database, run: Run) -> Sequence[Run]:
    """The runs that must have succeeded before a run, directly or through others, as planned."""
    with db.read() as session:
        needs = defaultdict[str, list[str]](list)
        for run_id, needs_id in session.exec(_needs_of(run.job_id)):
            needs[run_id].append(needs_id)
        query = select(Run).where(col(Run.id).in_(_follow(needs, run.id)))
        return session.exec(query.order_by(col(Run.position))).all()


def find_dependents(session: Session, run: Run) -> set[str]:
    """The trainings that wait for a run, directly or through others."""
    waiting = defaultdict[str, list[str]](list)
    for run_id, needs_id in session.exec(_needs_of(run.job_id)):
        waiting[needs_id].append(run_id)
    return _follow(waiting, run.id)


def _needs_of(job_id: str) -> Select[str, str]:
    """A query for the needs of a job's trainings.

    All at once: a recursive query goes through the whole table at each step where the database has
    no statistics yet.
    """
    needs = select(RunNeed.run_id, RunNeed.needs_id).join(Run, col(Run.id) == col(RunNeed.run_id))
    return needs.where(Run.job_id == job_id, Run.role == Role.TRAINING)


def _follow(edges: Mapping[str, Sequence[str]], start: str) -> set[str]:
    """All that the edges lead to from a run."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = set(edges.get(ahead.pop(), ())) - found
        found |= new
        ahead += new
    return found
