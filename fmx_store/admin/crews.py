"""Who trains, as the record shows it: `fmx admin doctor` reads it twice and compares."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from fmx_store.database import Database
from fmx_store.states import State
from fmx_store.tables import Run, now

_UNDER_WAY = (State.RUNNING, State.CANCELLING)


@dataclass(frozen=True)
class Crew:
    """The runs under way with their counters, those that wait, and who was seen last."""

    beats: Mapping[str, int]
    num_due: int
    waited_seconds: float  # by the run that has been due the longest
    last_seen: str


def look_at_crew(db: Database) -> Crew:
    """The crew at this moment."""
    with db.read() as session:
        rows = session.exec(select(Run.id, Run.beat).where(col(Run.state).in_(_UNDER_WAY))).all()
        is_due = (col(Run.state) == State.QUEUED) & (col(Run.waiting_for) == 0)
        num_due = session.exec(select(func.count()).select_from(Run).where(is_due)).one()
        oldest = session.exec(
            select(Run.created_at).where(is_due).order_by(col(Run.created_at)).limit(1)
        ).first()
        waited = 0.0 if oldest is None else (now() - oldest).total_seconds()
        return Crew(dict(rows), num_due, waited, _last_seen(session))


def _last_seen(session: Session) -> str:
    """The worker that began a run last."""
    newest = (
        select(Run.worker, Run.started_at)
        .where(col(Run.worker).is_not(None), col(Run.started_at).is_not(None))
        .order_by(col(Run.started_at).desc())
        .limit(1)
    )
    found = session.exec(newest).first()
    if found is None:
        return "no worker has begun one yet"
    worker, started_at = found
    return f"{worker} began one last, at {started_at:%Y-%m-%d %H:%M:%S} UTC"
