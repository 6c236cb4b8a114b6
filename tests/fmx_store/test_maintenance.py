"""Taking back, announcing again, sweeping."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from record_kit import CRASHES, claim, run_named, submit, submit_plan, together
from sqlmodel import col, select, update

from fmx_store import artifacts, claims, jobs, maintenance
from fmx_store.blobs import FolderStore, digest
from fmx_store.claims import Success
from fmx_store.database import Database, Ring
from fmx_store.maintenance import Maintenance, Reaper, find_waiting
from fmx_store.settings import Settings
from fmx_store.states import State
from fmx_store.tables import Blob, Run, now

LEASE = 10.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reaper(clock: Clock) -> Reaper:
    return Reaper(LEASE, CRASHES, clock)


def look_for(
    seconds: float, reaper: Reaper, clock: Clock, db: Database, beat: Callable[[], object]
) -> int:
    """Looks once a second for so long, with a beat before each look; how many were taken back."""
    taken = 0
    for _ in range(round(seconds)):
        clock.at += 1
        beat()
        taken += reaper.look(db)
    return taken


def nothing() -> None:
    """No beat."""


def test_a_silent_run_is_taken_back_after_a_lease(
    db: Database, reaper: Reaper, clock: Clock, rings: list[Ring]
) -> None:
    submit(db)
    lease = claim(db).lease
    rings.clear()
    assert reaper.look(db) == 0
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0
    assert look_for(1, reaper, clock, db, nothing) == 1
    run = jobs.require_run(db, lease.run_id)
    assert (run.state, run.crashes) == (State.QUEUED, 1)
    assert rings == [(run.id, "cpu")]
    assert look_for(2 * LEASE, reaper, clock, db, nothing) == 0


def test_a_beating_run_is_left_alone(db: Database, reaper: Reaper, clock: Clock) -> None:
    submit(db)
    lease = claim(db).lease
    assert look_for(3 * LEASE, reaper, clock, db, lambda: claims.beat(db, lease)) == 0
    assert look_for(LEASE, reaper, clock, db, nothing) == 1


def test_a_new_reaper_gives_everyone_a_whole_lease(db: Database, clock: Clock) -> None:
    submit(db)
    claim(db)
    clock.at += 100 * LEASE
    reaper = Reaper(LEASE, CRASHES, clock)
    assert reaper.look(db) == 0
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0


def test_a_new_attempt_has_a_whole_lease(db: Database, reaper: Reaper, clock: Clock) -> None:
    submit(db)
    lease = claim(db).lease
    reaper.look(db)
    look_for(LEASE - 1, reaper, clock, db, nothing)
    claims.hand_back(db, lease)
    claim(db)
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0
    assert look_for(2, reaper, clock, db, nothing) == 1


def test_a_reaper_that_stood_still_begins_anew(db: Database, reaper: Reaper, clock: Clock) -> None:
    """As when a machine sleeps: workers may have slept too."""
    submit(db)
    lease = claim(db).lease
    reaper.look(db)
    clock.at += 100 * LEASE
    assert reaper.look(db) == 0
    claims.beat(db, lease)
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0
    assert look_for(2, reaper, clock, db, nothing) == 1


def test_a_pause_of_almost_a_lease_leaves_time_for_a_heartbeat(
    db: Database, reaper: Reaper, clock: Clock
) -> None:
    """A machine froze, with a reaper and a worker whose last beat was seen just before."""
    submit(db)
    lease = claim(db).lease
    reaper.look(db)
    assert look_for(2, reaper, clock, db, nothing) == 0
    clock.at += LEASE - 1.5
    assert reaper.look(db) == 0
    claims.beat(db, lease)
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0


@pytest.mark.parametrize("fails", ["active", "take_back"])
def test_no_run_pays_for_an_outage(
    db: Database, reaper: Reaper, clock: Clock, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    submit(db)
    claim(db)
    reaper.look(db)
    look_for(LEASE - 1, reaper, clock, db, nothing)
    clock.at += 1

    def fail(*_: object) -> None:
        raise ConnectionError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(claims, fails, fail)
        with pytest.raises(ConnectionError):
            reaper.look(db)
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0
    assert look_for(2, reaper, clock, db, nothing) == 1


@pytest.mark.parametrize("seconds", [0.9 * LEASE, 1.9 * LEASE])
def test_nothing_is_known_while_the_database_can_only_be_read(
    db: Database,
    reaper: Reaper,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    """Heartbeats fail for a while, which ends just before a lease does, or the second."""
    submit(db)
    lease = claim(db).lease
    reaper.look(db)

    def fail(*_: object) -> None:
        raise ConnectionError("the database can only be read")

    with monkeypatch.context() as patched:
        for name in ("take_back", "try_writing"):
            patched.setattr(claims, name, fail)
        for second in range(1, round(seconds) + 1):
            clock.at += 1
            with pytest.raises(ConnectionError) if second >= LEASE / 2 else nullcontext():
                assert reaper.look(db) == 0
    assert look_for(2, reaper, clock, db, nothing) == 0
    claims.beat(db, lease)
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0
    assert look_for(2, reaper, clock, db, nothing) == 1


def test_what_holds_up_heartbeats_for_long_is_no_silence(
    db: Database, reaper: Reaper, clock: Clock
) -> None:
    """Another process writes to SQLite, which has one writer; or has locked PostgreSQL's rows."""
    submit(db)
    lease = claim(db).lease
    reaper.look(db)
    assert look_for(LEASE / 2, reaper, clock, db, nothing) == 0
    locked, looked = threading.Event(), threading.Event()

    def write_for_long() -> None:
        other = Database(db.url)
        with other.write() as session:
            session.exec(select(Run).with_for_update()).all()
            locked.set()
            assert not looked.wait(0.5), "the reaper waits"
            clock.at += LEASE / 2
        other.close()

    def look() -> int:
        locked.wait()
        taken = reaper.look(db)
        looked.set()
        return taken

    assert together(write_for_long, look) == [None, 0]
    assert look_for(1, reaper, clock, db, nothing) == 0
    claims.beat(db, lease)
    assert look_for(LEASE - 1, reaper, clock, db, nothing) == 0


def test_the_third_silence_fails_the_run(db: Database, reaper: Reaper, clock: Clock) -> None:
    job = submit(db)
    for _ in range(CRASHES):
        claim(db)
        look_for(LEASE + 1, reaper, clock, db, nothing)
    assert jobs.require_job(db, job.id).state is State.FAILED


def age_rings(db: Database, seconds: float) -> None:
    """As if all had been announced so long ago."""
    with db.write() as session:
        session.exec(update(Run).values(rung_at=now() - timedelta(seconds=seconds)))


def test_a_run_that_waits_is_announced_again_after_a_while(db: Database) -> None:
    job = submit(db, seeds=2)
    assert find_waiting(db, 15) == []
    age_rings(db, 14)
    assert find_waiting(db, 15) == []
    age_rings(db, 16)
    due = [(run.id, "cpu") for run in jobs.list_runs(db, job.id)[:2]]
    assert find_waiting(db, 15) == due
    assert find_waiting(db, 15) == []


def test_a_run_that_was_never_announced_is(db: Database) -> None:
    job = submit(db)
    with db.write() as session:
        session.exec(update(Run).values(rung_at=None))
    assert find_waiting(db, 3600) == [(jobs.list_runs(db, job.id)[0].id, "cpu")]


def test_what_is_not_due_is_not_announced(db: Database) -> None:
    submit_plan(db, {"a": (), "b": ("a",)})
    claim(db)
    done = submit(db, priority=9)
    claims.finish(db, claim(db).lease, Success())
    claims.finish(db, claim(db).lease, Success())
    assert jobs.require_job(db, done.id).state is State.SUCCEEDED
    jobs.cancel(db, submit(db).id)
    age_rings(db, 100)
    assert find_waiting(db, 15) == []


@pytest.mark.parametrize("how", ["hand back", "crash", "retry", "release"])
def test_a_run_that_was_just_queued_is_not_announced_twice(db: Database, how: str) -> None:
    job = submit(db)
    lease = claim(db).lease
    age_rings(db, 100)
    if how == "hand back":
        claims.hand_back(db, lease)
    elif how == "crash":
        claims.report_crash(db, lease, "killed", CRASHES)
    elif how == "retry":
        claims.report_crash(db, lease, "killed", 1)
        jobs.retry(db, job.id)
    else:
        claims.finish(db, lease, Success())
    assert find_waiting(db, 15) == []
    age_rings(db, 16)
    assert len(find_waiting(db, 15)) == 1


def test_the_most_urgent_are_announced_first_and_not_all_at_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "ANNOUNCE_AT_MOST", 3)
    first = [submit(db, priority=p) for p in (1, 9, 5, 9)]
    age_rings(db, 100)
    runs = [jobs.list_runs(db, job.id)[0].id for job in first]
    assert [ring[0] for ring in find_waiting(db, 15)] == [runs[1], runs[3], runs[2]]
    assert [ring[0] for ring in find_waiting(db, 15)] == [runs[0]]


def test_many_announcers_announce_once(db: Database) -> None:
    job = submit(db, seeds=20)
    age_rings(db, 100)
    found = [ring for part in together(*[lambda: find_waiting(db, 15)] * 4) for ring in part]
    assert sorted(found) == sorted((run.id, "cpu") for run in jobs.list_runs(db, job.id)[:-1])


def test_a_round_takes_back_and_announces(
    db: Database, blobs: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[Ring] = []
    settings = Settings(data_dir=tmp_path, heartbeat_seconds=0.05, lease_seconds=0.2)
    upkeep = Maintenance(db, blobs, settings, announced.extend)
    job = submit(db, seeds=2)
    lease = claim(db).lease
    age_rings(db, 100)
    failures = [ConnectionError("away"), None]

    def active(database: Database) -> list[claims.Heartbeat]:
        if failures and (failure := failures.pop(0)) is not None:
            raise failure
        return unpatched(database)

    unpatched = claims.active
    monkeypatch.setattr(claims, "active", active)
    upkeep.start()
    deadline = time.monotonic() + 10
    while jobs.require_run(db, lease.run_id).state is not State.QUEUED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    upkeep.stop()
    assert not any(thread.name == "maintenance" for thread in threading.enumerate())
    waiting = next(r for r in jobs.list_runs(db, job.id)[:2] if r.id != lease.run_id)
    assert announced == [(waiting.id, "cpu")]
    assert run_named(db, job.id, "collation").state is State.QUEUED


def test_what_never_began_can_be_stopped(db: Database, blobs: FolderStore, tmp_path: Path) -> None:
    Maintenance(db, blobs, Settings(data_dir=tmp_path), lambda _rings: None).stop()


def test_a_sweep_removes_what_nothing_names(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    submit(db)
    lease = claim(db).lease
    sources = {name: tmp_path / name for name in ("kept", "abandoned", "stray")}
    for name, path in sources.items():
        path.write_text(name)
    kept = artifacts.stage(db, blobs, lease, {"r/kept": sources["kept"]})
    artifacts.stage(db, blobs, lease, {"r/abandoned": sources["abandoned"]})
    blobs.put(sources["stray"], digest(sources["stray"])[0])
    claims.finish(db, lease, Success(files=kept))
    with db.write() as session:
        old = now() - timedelta(days=1)
        session.exec(update(Blob).where(col(Blob.size_bytes) > 0).values(created_at=old))
    Maintenance(db, blobs, Settings(data_dir=tmp_path), lambda _rings: None).sweep()
    left = {kept[0].sha256, digest(sources["stray"])[0]}
    assert set(blobs.digests()) == left  # what another record may have stored is not ours
