"""The log of events: it only grows, but for those of jobs that were deleted long ago."""

from datetime import timedelta

from sqlmodel import col, delete, select

from fmx_store.database import Database
from fmx_store.tables import Event, now

FORGET_AT_ONCE = 100  # jobs in one transaction


def forget_deleted(db: Database, kept_for: timedelta) -> int:
    """Removes the events of jobs that were deleted so long ago; answers of how many jobs."""
    before = now() - kept_for
    query = select(Event.job_id).where(Event.type == "deleted", Event.at < before)
    num_forgotten = 0
    while True:
        with db.write() as session:
            job_ids = session.exec(query.order_by(col(Event.at)).limit(FORGET_AT_ONCE)).all()
            session.exec(delete(Event).where(col(Event.job_id).in_(job_ids)))
        num_forgotten += len(job_ids)
        if len(job_ids) < FORGET_AT_ONCE:
            return num_forgotten
