"""Claims at once: each run goes to one, in order, whatever else happens."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from record_kit import (
    CPU,
    CRASHES,
    check_record,
    claim,
    submit,
    together,
)

from fmx_store import claims, jobs
from fmx_store.claims import Success
from fmx_store.database import Database
from fmx_store.errors import ConflictError, LeaseLostError
from fmx_store.lifecycle import cancel_all, lock_job


def drain(db: Database, worker: str) -> list[tuple[str, int]]:
    """Claims all that is due."""
    taken: list[tuple[str, int]] = []
    while (claimed := claims.claim(db, worker, CPU)) is not None:
        taken.append((claimed.run.id, claimed.lease.attempt))
    return taken


def drain_process(url: str, name: str, results: Any) -> None:
    db = Database(url)
    results.put(drain(db, name))
    db.close()


def test_many_threads_claim_each_run_once(db: Database) -> None:
    ids = [r.id for _ in range(20) for r in jobs.list_runs(db, submit(db, seeds=10).id)[:-1]]
    with ThreadPoolExecutor(8) as pool:
        taken = [t for part in pool.map(lambda i: drain(db, f"w{i}"), range(8)) for t in part]
    assert Counter(taken) == Counter((run_id, 1) for run_id in ids)
    check_record(db)


def test_claims_at_once_do_not_look_in_vain(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finds what is next after the others; only the last ones find that all is gone."""
    for _ in range(30):
        submit(db)
    vain: list[str] = []
    look = claims._claim

    def count(session: Any, worker: str, *arguments: Any) -> Any:
        claimed = look(session, worker, *arguments)
        if not claimed:
            vain.append(worker)
        return claimed

    monkeypatch.setattr(claims, "_claim", count)
    with ThreadPoolExecutor(6) as pool:
        taken = [t for part in pool.map(lambda i: drain(db, f"w{i}"), range(6)) for t in part]
    assert len(taken) == 30
    assert len(vain) == len(set(vain)) < 6


def test_many_processes_claim_each_run_once(db: Database) -> None:
    ids = [r.id for _ in range(10) for r in jobs.list_runs(db, submit(db, seeds=10).id)[:-1]]
    spawn = get_context("spawn")
    results: Any = spawn.Queue()
    workers = [
        spawn.Process(target=drain_process, args=(db.url, f"p{i}", results)) for i in range(3)
    ]
    for worker in workers:
        worker.start()
    taken = [t for _ in workers for t in results.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert Counter(taken) == Counter((run_id, 1) for run_id in ids)


def test_a_claim_waits_for_the_most_urgent_job_to_be_written(db: Database) -> None:
    """While the urgent job is locked, neither a less urgent run nor nothing is the answer."""
    submit(db, priority=1)
    urgent = submit(db, seeds=2, priority=9)
    claim(db)
    locked, claimed = threading.Event(), threading.Event()

    def write_slowly() -> bool:
        with db.write() as session:
            lock_job(session, urgent.id)
            locked.set()
            return claimed.wait(0.3)

    def take() -> str:
        locked.wait()
        found = claim(db).lease.job_id
        claimed.set()
        return found

    assert together(write_slowly, take) == [False, urgent.id]


def test_a_run_cancelled_while_it_is_claimed_is_not_claimed(db: Database) -> None:
    job, other = submit(db, priority=9), submit(db, priority=1)
    locked, looking = threading.Event(), threading.Event()

    def cancel_slowly() -> None:
        with db.write() as session:
            held = lock_job(session, job.id)
            locked.set()
            looking.wait(0.3)
            cancel_all(session, held)

    def take() -> str:
        locked.wait()
        return claim(db).lease.job_id

    assert together(cancel_slowly, take) == [None, other.id]
    check_record(db)


@pytest.mark.parametrize("how", [jobs.cancel, jobs.remove])
def test_claims_race_with_cancels_and_deletes(db: Database, how: Any) -> None:
    for _ in range(15):
        job = submit(db, seeds=2)
        claimed, other = together(
            lambda: claims.claim(db, "w", CPU), lambda job=job: how(db, job.id)
        )
        assert not isinstance(claimed, Exception), claimed
        assert not isinstance(other, Exception) or isinstance(other, ConflictError), other
        if claimed is not None and how is jobs.remove:
            assert isinstance(other, ConflictError)
        check_record(db)
        if claimed is not None:
            claims.finish(db, claimed.lease, Success())
        drain(db, "w")  # nothing of this round is due in the next
        check_record(db)


def test_only_one_of_many_reapers_takes_a_run_back(db: Database) -> None:
    submit(db)
    lease = claim(db).lease
    seen = claims.active(db)[0]
    assert sorted(together(*[lambda: claims.take_back(db, seen, CRASHES)] * 4)) == [0, 0, 0, 1]
    assert jobs.require_run(db, lease.run_id).crashes == 1


def test_a_finish_and_a_reaper_at_once_end_the_run_once(db: Database) -> None:
    for _ in range(15):
        job = submit(db)
        lease = claim(db).lease
        seen = claims.active(db)[0]
        finished, taken = together(
            lambda lease=lease: claims.finish(db, lease, Success()),
            lambda seen=seen: claims.take_back(db, seen, CRASHES),
        )
        assert isinstance(finished, LeaseLostError) == (taken is True), (finished, taken)
        check_record(db)
        jobs.cancel(db, job.id)
