"""Files that runs can go on from: the last two of each run that has not ended for good.

Each holds the run's best weights too. Every function works inside a caller's write transaction,
which holds the run.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, delete, select, update

from fmx_store.tables import Checkpoint, Metric, Pin, Run

KEPT = 2
"""The newest, and the one before in case that is damaged."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A stored file that a run can go on from after an epoch."""

    epoch: int
    sha256: str
    size_bytes: int


def begin_again(session: Session, runs: Sequence[Run]) -> dict[str, list[StoredCheckpoint]]:
    """What each run that is about to be claimed can go on from, the newest first.

    The epochs after the newest are forgotten, those before belong to the next attempt.
    """
    ids = [run.id for run in runs if run.attempt > 0]
    found = defaultdict[str, list[StoredCheckpoint]](list)
    if not ids:
        return found
    columns = (Checkpoint.run_id, Checkpoint.epoch, Checkpoint.sha256, Checkpoint.size_bytes)
    query = select(*columns).where(col(Checkpoint.run_id).in_(ids))
    for run_id, epoch, sha256, size in session.exec(query.order_by(col(Checkpoint.epoch).desc())):
        found[run_id].append(StoredCheckpoint(epoch, sha256, size))
    own = col(Metric.run_id).in_(ids)
    newest = select(func.coalesce(func.max(Checkpoint.epoch), 0))
    newest = newest.where(Checkpoint.run_id == Metric.run_id).scalar_subquery()
    unseen = {"synchronize_session": False}  # nobody has loaded epochs as objects
    later = delete(Metric).where(own, col(Metric.epoch) > newest)
    session.exec(later.execution_options(**unseen))
    if found:
        attempt = select(Run.attempt + 1).where(Run.id == Metric.run_id).scalar_subquery()
        retoken = update(Metric).where(own).values(attempt=attempt)
        session.exec(retoken.execution_options(**unseen))
    return found


def add(session: Session, run: Run, stored: StoredCheckpoint) -> None:
    """Makes a staged file the newest that a run can go on from; older ones than KEPT go."""
    mine = col(Checkpoint.run_id) == run.id
    session.exec(delete(Checkpoint).where(mine, col(Checkpoint.epoch) >= stored.epoch))
    query = select(Checkpoint.epoch).where(mine).order_by(col(Checkpoint.epoch).desc())
    too_old = session.exec(query.offset(KEPT - 1)).all()
    session.exec(delete(Checkpoint).where(mine, col(Checkpoint.epoch).in_(too_old)))
    session.add(Checkpoint(run_id=run.id, **vars(stored)))
    session.exec(
        delete(Pin).where(
            col(Pin.sha256) == stored.sha256,
            col(Pin.run_id) == run.id,
            col(Pin.attempt) == run.attempt,
        )
    )


def rewind(session: Session, run: Run, epoch: int) -> None:
    """The run goes on after an earlier epoch than its newest checkpoint's; 0: from its start."""
    for table in (Metric, Checkpoint):
        session.exec(delete(table).where(col(table.run_id) == run.id, col(table.epoch) > epoch))
    run.epochs_done = epoch


def drop_all(session: Session, run: Run) -> None:
    """The run has ended: nothing will go on from it."""
    if run.attempt > 0:
        session.exec(delete(Checkpoint).where(col(Checkpoint.run_id) == run.id))
