"""A lease that was lost writes nothing: the whole record is as it was before."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from record_kit import CRASHES, FAILED, add_all, check_record, claim, dump, epoch, submit

from fmx_store import artifacts, claims, jobs
from fmx_store.blobs import FolderStore
from fmx_store.claims import Lease, StagedFile, Success
from fmx_store.database import Database, Ring
from fmx_store.errors import LeaseLostError
from fmx_store.tables import Blob

SHA = "cd" * 32
FILE = StagedFile("seed/a.txt", SHA, 3, "text/plain")

Write = Callable[[Database, Lease], Any]


def take_again(db: Database, _lease: Lease) -> None:
    claims.take_back(db, claims.active(db)[0], CRASHES)
    claim(db, "another")


def beat_again(db: Database, lease: Lease) -> None:
    take_again(db, lease)
    claims.record_progress(db, claim_of(db), [epoch(1)], phase="training")


def claim_of(db: Database) -> Lease:
    [held] = claims.active(db)
    return Lease(held.run_id, held.job_id, held.attempt)


LOSSES: dict[str, Write] = {
    "claimed again": take_again,
    "claimed again and further": beat_again,
    "taken back": lambda db, _lease: claims.take_back(db, claims.active(db)[0], CRASHES),
    "handed back": claims.hand_back,
    "succeeded": lambda db, lease: claims.finish(db, lease, Success()),
    "failed": lambda db, lease: claims.finish(db, lease, FAILED),
    "crashed too often": lambda db, lease: claims.report_crash(db, lease, "killed", 1),
    "cancelled": lambda db, lease: (
        jobs.cancel(db, lease.job_id),
        claims.finish(db, lease, Success()),
    ),
    "cancelled and retried": lambda db, lease: (
        jobs.cancel(db, lease.job_id),
        claims.hand_back(db, lease),
        jobs.retry(db, lease.job_id),
    ),
    "deleted": lambda db, lease: (
        jobs.cancel(db, lease.job_id),
        claims.hand_back(db, lease),
        jobs.remove(db, lease.job_id),
    ),
}

WRITES: dict[str, Write] = {
    "beat": claims.beat,
    "progress": lambda db, lease: claims.record_progress(db, lease, [epoch(9)], phase="late"),
    "empty progress": claims.record_progress,
    "success": lambda db, lease: claims.finish(
        db, lease, Success({"a": 1}, [FILE], model=True, results={"b": 2})
    ),
    "failure": lambda db, lease: claims.finish(db, lease, FAILED),
    "hand back": claims.hand_back,
    "crash": lambda db, lease: claims.report_crash(db, lease, "killed", CRASHES),
    "last crash": lambda db, lease: claims.report_crash(db, lease, "killed", 1),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_lease_writes_nothing(
    db: Database, rings: list[Ring], blobs: FolderStore, tmp_path: Path, loss: str
) -> None:
    add_all(db, [Blob(sha256=SHA, size_bytes=3)])
    submit(db, seeds=2)
    lease = claim(db).lease
    claims.record_progress(db, lease, [epoch(1)])
    LOSSES[loss](db, lease)
    check_record(db)
    before, rung = dump(db), list(rings)
    source = tmp_path / "file.txt"
    source.write_text("late")
    stage: Write = partial(lambda db, lease: artifacts.stage(db, blobs, lease, {"x": source}))
    for name, write in {**WRITES, "stage": stage}.items():
        with pytest.raises(LeaseLostError) as caught:
            write(db, lease)
        assert (caught.value.run_id, caught.value.attempt) == (lease.run_id, lease.attempt)
        assert dump(db) == before, name
    assert rings == rung
    assert list(blobs.digests()) == []


def test_a_silent_worker_seen_long_ago_is_not_taken_from(db: Database) -> None:
    submit(db)
    lease = claim(db).lease
    seen = claims.active(db)[0]
    take_again(db, lease)
    before = dump(db)
    assert not claims.take_back(db, seen, CRASHES)
    assert dump(db) == before


def test_a_write_that_fails_half_way_leaves_nothing(db: Database) -> None:
    """An artifact whose bytes were never staged is refused, and the run is still running."""
    submit(db)
    lease = claim(db).lease
    before = dump(db)
    with pytest.raises(Exception, match=r"FOREIGN KEY|foreign key"):
        claims.finish(db, lease, Success({"a": 1}, [FILE]))
    with pytest.raises(Exception, match="not JSON compliant"):
        claims.finish(db, lease, Success({"a": float("nan")}))
    assert dump(db) == before
    claims.finish(db, lease, Success())
