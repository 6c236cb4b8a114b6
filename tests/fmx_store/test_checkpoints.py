"""What a run can go on from: kept while it may, gone when it has ended, never taken by others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from record_kit import CRASHES, check_record, claim, dump, epoch, submit
from sqlmodel import col, select

from fmx_store import artifacts, claims, jobs, metrics
from fmx_store.blobs import FolderStore
from fmx_store.checkpoints import StoredCheckpoint
from fmx_store.claims import Claim, Failure, Lease, Success
from fmx_store.database import Database
from fmx_store.progress import Progress
from fmx_store.states import RESUMABLE, Reason, State
from fmx_store.tables import Checkpoint, Metric, Pin


class Store:
    """A record, and a store in which runs leave checkpoints."""

    def __init__(self, db: Database, blobs: FolderStore, folder: Path) -> None:
        self.db, self.blobs, self.folder = db, blobs, folder

    def stage(self, lease: Lease, number: int, text: str = "") -> StoredCheckpoint:
        path = self.folder / f"{number}"
        path.write_text(f"{text} {lease.run_id} {number}")
        [staged] = artifacts.stage(self.db, self.blobs, lease, {"x": path})
        return StoredCheckpoint(number, staged.sha256, staged.size_bytes)

    def leave(self, lease: Lease, *numbers: int) -> list[str]:
        """Checkpoints after some epochs, each with all epochs before; their digests."""
        digests: list[str] = []
        for number in numbers:
            stored = self.stage(lease, number)
            told = Progress([epoch(n) for n in range(1, number + 1)], checkpoint=stored)
            assert claims.record_all(self.db, {lease: told}) == {lease: State.RUNNING}
            digests.append(stored.sha256)
        return digests

    def rows(self, lease: Lease) -> list[int]:
        with self.db.read() as session:
            query = select(Checkpoint.epoch).where(Checkpoint.run_id == lease.run_id)
            return sorted(session.exec(query))

    def pins(self) -> int:
        with self.db.read() as session:
            return len(session.exec(select(Pin)).all())

    def tokens(self, lease: Lease) -> dict[int, int]:
        """The attempt that each epoch bears."""
        with self.db.read() as session:
            query = select(Metric.epoch, Metric.attempt).where(Metric.run_id == lease.run_id)
            return dict(session.exec(query.order_by(col(Metric.epoch))).all())

    def collect(self, *digests: str) -> int:
        return artifacts.collect(self.db, self.blobs, digests)


@pytest.fixture
def store(db: Database, blobs: FolderStore, tmp_path: Path) -> Store:
    return Store(db, blobs, tmp_path)


def epochs_of(claimed: Claim) -> list[int]:
    return [stored.epoch for stored in claimed.checkpoints]


def test_the_last_two_are_kept(db: Database, store: Store) -> None:
    submit(db)
    lease = claim(db).lease
    digests = store.leave(lease, 2, 3, 5, 8)
    assert store.rows(lease) == [5, 8]
    assert store.pins() == 0
    assert store.collect(*digests) == 2
    assert set(store.blobs.digests()) == {*digests[2:]}
    assert store.collect(*digests) == 0, "what a run may go on from is not taken"
    assert set(artifacts.find_unused(db)) == set()


def test_an_epoch_s_second_checkpoint_is_the_one_that_counts(db: Database, store: Store) -> None:
    submit(db)
    lease = claim(db).lease
    store.leave(lease, 2, 4)
    again = store.stage(lease, 4, "another")
    claims.record_all(db, {lease: Progress(checkpoint=again)})
    claims.hand_back(db, lease)
    claimed = claim(db)
    assert epochs_of(claimed) == [4, 2]
    assert claimed.checkpoints[0] == again


def test_a_claim_goes_back_to_the_newest(db: Database, store: Store) -> None:
    submit(db)
    first = claim(db).lease
    store.leave(first, 2, 4)
    claims.record_progress(db, first, [epoch(5), epoch(6)])
    claims.hand_back(db, first)
    claimed = claim(db)
    assert epochs_of(claimed) == [4, 2]
    assert claimed.run.epochs_done == 4
    assert store.tokens(first) == dict.fromkeys(range(1, 5), 2), "no row bears the old token"
    claims.record_progress(db, claimed.lease, [epoch(5)])
    assert [m.epoch for m in metrics.read_metrics(db, first.run_id)] == [1, 2, 3, 4, 5]
    check_record(db)


def test_without_one_a_claim_starts_anew(db: Database, store: Store) -> None:
    submit(db, seeds=2)
    with_one, without = claim(db).lease, claim(db).lease
    store.leave(with_one, 3)
    claims.record_progress(db, without, [epoch(1), epoch(2)])
    for lease in (with_one, without):
        claims.report_crash(db, lease, "killed", CRASHES)
    assert epochs_of(claim(db)) == [3]
    claimed = claim(db)
    assert (claimed.checkpoints, claimed.run.epochs_done) == ((), 0)
    assert store.tokens(with_one) == {1: 2, 2: 2, 3: 2}
    assert store.tokens(without) == {}


@pytest.mark.parametrize(("resumed_at", "left"), [(2, [2]), (0, [])])
def test_a_run_that_goes_further_back_forgets_what_came_later(
    db: Database, store: Store, resumed_at: int, left: list[int]
) -> None:
    submit(db)
    first = claim(db).lease
    store.leave(first, 2, 4)
    claims.hand_back(db, first)
    lease = claim(db).lease
    told = Progress([epoch(resumed_at + 1, train_loss=9.0)], resumed_at=resumed_at)
    claims.record_all(db, {lease: told})
    assert store.rows(lease) == left
    run = jobs.require_run(db, lease.run_id)
    assert run.epochs_done == resumed_at + 1
    written = metrics.read_metrics(db, lease.run_id)
    assert [m.epoch for m in written] == list(range(1, resumed_at + 2))
    assert written[-1].train_loss == 9.0


ENDS: dict[str, Callable[[Database, Lease], Any]] = {
    "succeeded": lambda db, lease: claims.finish(db, lease, Success()),
    "diverged": lambda db, lease: claims.finish(db, lease, failure(Reason.NAN_LOSS)),
    "cancelled": lambda db, lease: (
        jobs.cancel(db, lease.job_id),
        claims.finish(db, lease, failure(Reason.CANCELLED_BY_USER)),
    ),
    "cancelled in the queue": lambda db, lease: (
        claims.hand_back(db, lease),
        jobs.cancel(db, lease.job_id),
    ),
    "cancelled while it crashed": lambda db, lease: (
        jobs.cancel(db, lease.job_id),
        claims.report_crash(db, lease, "killed", CRASHES),
    ),
}


def failure(reason: Reason) -> Failure:
    return Failure(reason, reason.value, "it ended")


@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_has_ended_keeps_none(db: Database, store: Store, end: str) -> None:
    submit(db)
    lease = claim(db).lease
    digests = store.leave(lease, 1, 2)
    ENDS[end](db, lease)
    assert store.rows(lease) == []
    assert store.collect(*digests) == 2


@pytest.mark.parametrize("reason", sorted(RESUMABLE))
def test_a_retry_goes_on_where_the_training_is_not_to_blame(
    db: Database, store: Store, reason: Reason
) -> None:
    job = submit(db)
    lease = claim(db).lease
    store.leave(lease, 3, 7)
    claims.finish(db, lease, failure(reason))
    assert store.rows(lease) == [3, 7]
    jobs.retry(db, job.id)
    claimed = claim(db)
    assert epochs_of(claimed) == [7, 3]
    assert claimed.run.epochs_done == 7
    claims.finish(db, claimed.lease, Success())
    assert store.rows(lease) == []
    check_record(db)


def test_a_deleted_job_takes_them_with_it(db: Database, store: Store) -> None:
    job = submit(db)
    lease = claim(db).lease
    digests = store.leave(lease, 3, 7)
    claims.finish(db, lease, failure(Reason.TIME_LIMIT))
    assert set(digests) <= jobs.remove(db, job.id)
    assert store.collect(*digests) == 2
    assert list(store.blobs.digests()) == []


def test_a_lost_lease_leaves_none(db: Database, store: Store) -> None:
    submit(db)
    lease = claim(db).lease
    store.leave(lease, 2)
    late = store.stage(lease, 4)
    claims.take_back(db, claims.active(db)[0], CRASHES)
    claim(db, "another")
    before = dump(db)
    assert claims.record_all(db, {lease: Progress([epoch(4)], checkpoint=late)}) == {}
    assert claims.record_all(db, {lease: Progress(resumed_at=0)}) == {}
    assert dump(db) == before
    assert store.collect(late.sha256) == 1, "its pin went with the lease"


def test_a_checkpoint_is_no_news_for_readers(db: Database, store: Store) -> None:
    job = submit(db)
    lease = claim(db).lease
    stored = store.stage(lease, 1)
    version = jobs.require_job(db, job.id).version
    claims.record_all(db, {lease: Progress(checkpoint=stored)})
    assert jobs.require_job(db, job.id).version == version
