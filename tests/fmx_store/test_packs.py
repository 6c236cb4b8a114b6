"""Runs that are claimed together, and what is written of them at once."""

import math
from collections.abc import Generator, Sequence
from unittest import mock

import pytest
from record_kit import CPU, CRASHES, claim, epoch, lease_of, run_named, statements, submit

from fmx_ml.trainings import Training
from fmx_store import claims, jobs, metrics
from fmx_store.claims import Claim, Lease, Progress, Success
from fmx_store.database import Database
from fmx_store.errors import LeaseLostError
from fmx_store.states import State
from fmx_store.tables import Run


@pytest.fixture(autouse=True)
def _kin() -> Generator[None]:
    """All trainings whose seed is not a multiple of 5 are kin."""

    def key(training: Training) -> str | None:
        return "kin" if training.seed % 5 else None

    with mock.patch("fmx_store.new_jobs.pack_key", key):
        yield


def submit_kin(db: Database, seeds: Sequence[int] = (1, 2, 3)) -> str:
    return submit(db, spec={"seeds": list(seeds)}).id


def claim_pack(db: Database, most: int = 10, num_shares: int = 1) -> list[Claim]:
    return claims.claim_pack(db, "w", CPU, lambda _: most, num_shares)


def names(pack: Sequence[Claim]) -> list[str]:
    return [claimed.run.name for claimed in pack]


def run_of(db: Database, lease: Lease) -> Run:
    return jobs.require_run(db, lease.run_id)


def test_a_claim_takes_the_due_kin_each_under_its_own_token(db: Database) -> None:
    job_id = submit_kin(db, (1, 5, 2, 10, 3))
    pack = claim_pack(db)
    assert names(pack) == ["seed-1", "seed-2", "seed-3"]
    for claimed in pack:
        run = run_of(db, claimed.lease)
        assert (run.state, run.attempt, run.worker) == (State.RUNNING, 1, "w")
        assert claimed.lease == lease_of(run)
    assert len({claimed.lease for claimed in pack}) == 3
    assert names(claim_pack(db)) == ["seed-5"]
    assert names(claim_pack(db)) == ["seed-10"]
    assert claim_pack(db) == []
    assert jobs.require_job(db, job_id).state is State.RUNNING


def test_kin_of_another_job_are_left(db: Database) -> None:
    first, second = submit_kin(db, (1, 2)), submit_kin(db, (3, 4))
    assert [claimed.job.id for claimed in claim_pack(db)] == [first, first]
    assert [claimed.job.id for claimed in claim_pack(db)] == [second, second]


@pytest.mark.parametrize(
    ("most", "num_shares", "sizes"),
    [
        (1, 1, [1, 1, 1, 1, 1, 1]),
        (4, 1, [4, 2]),
        (10, 2, [3, 2, 1]),
        (2, 3, [2, 2, 1, 1]),
        (10, 10, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_a_claim_leaves_their_parts_to_the_others(
    db: Database, most: int, num_shares: int, sizes: list[int]
) -> None:
    submit_kin(db, (1, 2, 3, 4, 6, 7))
    assert [len(claim_pack(db, most, num_shares)) for _ in sizes] == sizes
    assert claim_pack(db, most, num_shares) == []


def test_a_run_that_has_crashed_is_alone(db: Database) -> None:
    submit_kin(db)
    first, second, third = claim_pack(db)
    claims.report_crash(db, second.lease, "it died", CRASHES)
    claims.hand_back(db, third.lease)
    claims.hand_back(db, first.lease)
    assert names(claim_pack(db)) == ["seed-1", "seed-3"]
    assert names(claim_pack(db)) == ["seed-2"]


def test_a_plain_claim_takes_one(db: Database) -> None:
    submit_kin(db)
    assert claim(db).run.name == "seed-1"
    assert claim(db).run.name == "seed-2"


def test_what_earlier_attempts_have_written_goes(db: Database) -> None:
    submit_kin(db)
    pack = claim_pack(db)
    for claimed in pack:
        claims.record_progress(db, claimed.lease, [epoch(1)])
        claims.hand_back(db, claimed.lease)
    for claimed in claim_pack(db):
        assert (claimed.run.epochs_done, claimed.lease.attempt) == (0, 2)
        assert metrics.read_metrics(db, claimed.run.id) == []


def test_progress_of_many_is_written_at_once(db: Database) -> None:
    job_id = submit_kin(db, [n for n in range(1, 41) if n % 5])
    pack = claim_pack(db, 100)
    assert len(pack) == 32
    before = jobs.require_job(db, job_id).version
    progress = {
        c.lease: Progress([epoch(1), epoch(2, val_loss=math.nan)], "training") for c in pack
    }
    with statements(db) as told:
        states = claims.record_all(db, progress)
    assert len(told) < 12
    assert states == {c.lease: State.RUNNING for c in pack}
    assert jobs.require_job(db, job_id).version == before + 1
    for claimed in pack:
        run = run_of(db, claimed.lease)
        assert (run.epochs_done, run.phase, run.beat) == (2, "training", 1)
        written = metrics.read_metrics(db, run.id)
        assert [(m.epoch, m.val_loss) for m in written] == [(1, None), (2, None)]


def test_an_epoch_told_again_counts_once(db: Database) -> None:
    submit_kin(db)
    first, second, _ = claim_pack(db)
    claims.record_all(db, {first.lease: Progress([epoch(1)]), second.lease: Progress([epoch(1)])})
    claims.record_all(db, {first.lease: Progress([epoch(1, train_loss=9.0), epoch(2)])})
    written = metrics.read_metrics(db, first.run.id)
    assert [(m.epoch, m.train_loss) for m in written] == [(1, 9.0), (2, 0.5)]
    assert [m.train_loss for m in metrics.read_metrics(db, second.run.id)] == [1.0]


def test_leases_of_many_are_renewed_by_one_update(db: Database) -> None:
    job_id = submit_kin(db)
    pack = claim_pack(db)
    leases = [claimed.lease for claimed in pack]
    version = jobs.require_job(db, job_id).version
    with statements(db) as told:
        states = claims.beat_all(db, leases)
    assert sum(statement.startswith("UPDATE") for statement in told) == 1
    assert states == dict.fromkeys(leases, State.RUNNING)
    assert [run_of(db, lease).beat for lease in leases] == [1, 1, 1]
    assert jobs.require_job(db, job_id).version == version, "a heartbeat is no news"


def test_a_lost_lease_is_refused_and_the_others_are_written(db: Database) -> None:
    submit_kin(db)
    first, lost, third = claim_pack(db)
    claims.hand_back(db, lost.lease)
    again = claim(db)
    assert again.run.id == lost.run.id
    leases = [c.lease for c in (first, lost, third)]
    kept = {first.lease: State.RUNNING, third.lease: State.RUNNING}
    assert claims.look_at(db, leases) == kept
    assert claims.beat_all(db, leases) == kept
    assert claims.record_all(db, {lease: Progress([epoch(1)], "x") for lease in leases}) == kept
    assert metrics.read_metrics(db, lost.run.id) == []
    assert run_of(db, lost.lease).beat == 0
    assert claims.record_all(db, {lost.lease: Progress([epoch(1)])}) == {}
    with pytest.raises(LeaseLostError):
        claims.record_progress(db, lost.lease, [epoch(1)])
    with pytest.raises(LeaseLostError):
        claims.beat(db, lost.lease)


def test_a_cancel_shows_in_every_state(db: Database) -> None:
    job_id = submit_kin(db)
    pack = claim_pack(db)
    claims.finish(db, pack[0].lease, Success())
    jobs.cancel(db, job_id)
    left = [claimed.lease for claimed in pack[1:]]
    assert claims.beat_all(db, left) == dict.fromkeys(left, State.CANCELLING)
    assert claims.look_at(db, [pack[0].lease, *left]) == dict.fromkeys(left, State.CANCELLING)
    for lease in left:
        assert claims.finish(db, lease, Success()) is State.CANCELLED
    assert run_named(db, job_id, "seed-1").state is State.SUCCEEDED
    assert jobs.require_job(db, job_id).state is State.CANCELLED


def test_a_removed_job_has_lost_every_lease(db: Database) -> None:
    job_id = submit_kin(db)
    leases = [claimed.lease for claimed in claim_pack(db)]
    jobs.cancel(db, job_id)
    for lease in leases:
        claims.hand_back(db, lease)
    jobs.remove(db, job_id)
    assert claims.beat_all(db, leases) == {}
    assert claims.look_at(db, leases) == {}
    assert claims.record_all(db, {lease: Progress([epoch(1)]) for lease in leases}) == {}
