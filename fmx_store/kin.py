"""Which runs of a job are claimed together."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from fmx_store.states import State
from fmx_store.tables import Run


def find_kin(session: Session, run: Run, most: int, num_shares: int) -> Sequence[Run]:
    """The due runs, locked, that are claimed together with a run."""
    if run.pack_key is None or run.crashes > 0 or most <= 1:
        return []
    query = (
        select(Run)
        .where(
            Run.job_id == run.job_id,
            Run.id != run.id,
            Run.state == State.QUEUED,
            Run.waiting_for == 0,
            Run.pack_key == run.pack_key,
            Run.device == run.device,
            Run.crashes == 0,
        )
        .order_by(col(Run.position))
        .limit(most * num_shares - 1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    kin = session.exec(query).all()
    share = -(-(1 + len(kin)) // num_shares)
    return kin[: min(most, share) - 1]
