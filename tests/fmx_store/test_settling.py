"""How a job ends, for all that can become of its runs."""

import itertools
from collections.abc import Callable

import pytest
from record_kit import (
    CPU,
    FAILED,
    check_record,
    claim,
    finish_all,
    run_named,
    states_of,
    submit,
    submit_plan,
)

from fmx_store import claims, jobs
from fmx_store.claims import Failure, Success
from fmx_store.database import Database, Ring
from fmx_store.errors import ConflictError
from fmx_store.states import Reason, State

CHAIN = {"a": (), "b": ("a",), "c": ("b",)}
DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


@pytest.mark.parametrize("good", list(itertools.product([True, False], repeat=3)))
@pytest.mark.parametrize("collates", [True, False])
def test_a_job_ends_as_its_runs_did(db: Database, good: tuple[bool, ...], collates: bool) -> None:
    job = submit_plan(db, {"a": (), "b": (), "c": ()})
    outcomes: dict[str, Success | Failure] = {
        name: Success() if fine else FAILED for name, fine in zip("abc", good, strict=True)
    }
    outcomes["collation"] = Success(results={"tables": []}) if collates else FAILED
    ended = finish_all(db, job.id, outcomes)
    collation = run_named(db, job.id, "collation")
    if not any(good):
        assert (collation.state, collation.reason) == (
            State.CANCELLED,
            Reason.DEPENDENCY_FAILED,
        )
    else:
        assert collation.state is (State.SUCCEEDED if collates else State.FAILED)
    assert ended.results == ({"tables": []} if any(good) and collates else None)
    if all(good) and collates:
        assert (ended.state, ended.reason, ended.error) == (State.SUCCEEDED, None, None)
    else:
        first = next((n for n, fine in zip("abc", good, strict=True) if not fine), "collation")
        assert (ended.state, ended.reason) == (State.FAILED, Reason.NAN_LOSS)
        assert ended.error == {"run": first, "code": "nan_loss", "message": "the loss is nan"}
    check_record(db)


@pytest.mark.parametrize(
    ("needs", "fails", "expected"),
    [
        (CHAIN, "a", {"a": "failed", "b": "failed", "c": "failed", "collation": "cancelled"}),
        (CHAIN, "b", {"a": "succeeded", "b": "failed", "c": "failed", "collation": "succeeded"}),
        (CHAIN, "c", {"a": "succeeded", "b": "succeeded", "c": "failed", "collation": "succeeded"}),
        (DIAMOND, "a", dict.fromkeys("abcd", "failed") | {"collation": "cancelled"}),
        (
            DIAMOND,
            "b",
            {"a": "succeeded", "b": "failed", "c": "succeeded", "d": "failed"}
            | {"collation": "succeeded"},
        ),
    ],
)
def test_what_needs_a_failed_run_fails_too(
    db: Database, needs: dict[str, tuple[str, ...]], fails: str, expected: dict[str, str]
) -> None:
    job = submit_plan(db, needs)
    ended = finish_all(db, job.id, {fails: FAILED})
    assert states_of(db, job.id) == expected
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NAN_LOSS)
    assert ended.error is not None
    assert ended.error["run"] == fails
    for run in jobs.list_runs(db, job.id):
        if run.state is State.FAILED and run.name != fails:
            assert run.reason is Reason.DEPENDENCY_FAILED
            assert run.error is not None
            assert run.error["code"] == "dependency_failed"
            assert run.attempt == 0
    check_record(db)


def test_a_run_is_announced_when_the_last_it_needs_has_succeeded(
    db: Database, rings: list[Ring]
) -> None:
    job = submit_plan(db, DIAMOND)
    ids = {run.name: (run.id, "cpu") for run in jobs.list_runs(db, job.id)}
    assert rings == [ids["a"]]
    told: list[list[Ring]] = []
    for _ in range(5):
        rings.clear()
        claims.finish(db, claim(db).lease, Success())
        told.append(sorted(rings))
        check_record(db)
    assert told == [sorted([ids["b"], ids["c"]]), [], [ids["d"]], [ids["collation"]], []]
    assert jobs.require_job(db, job.id).state is State.SUCCEEDED


def steps_of(num_steps: int, db: Database) -> None:
    """Goes so far along the way of a job with two trainings and a collation."""
    leases: dict[str, claims.Lease] = {}

    def take() -> None:
        claimed = claim(db)
        leases[claimed.run.name] = claimed.lease

    ends: list[Callable[[], object]] = [
        take,
        take,
        lambda: claims.finish(db, leases["a"], Success()),
        lambda: claims.finish(db, leases["b"], FAILED),
        take,
        lambda: claims.finish(db, leases["collation"], Success()),
    ]
    for step in ends[:num_steps]:
        step()


@pytest.mark.parametrize("moment", range(6))
def test_a_cancel_is_final_at_every_moment(db: Database, moment: int) -> None:
    job = submit_plan(db, {"a": (), "b": ()})
    steps_of(moment, db)
    active = {held.run_id for held in claims.active(db)}
    cancelled = jobs.cancel(db, job.id)
    check_record(db)
    assert cancelled.state is (State.CANCELLING if active else State.CANCELLED)
    assert claims.claim(db, "w", CPU) is None
    for held in claims.active(db):
        lease = claims.Lease(held.run_id, held.job_id, held.attempt)
        assert claims.beat(db, lease) is State.CANCELLING
        assert claims.finish(db, lease, Success(results={"a": 1})) is State.CANCELLED
        check_record(db)
    ended = jobs.require_job(db, job.id)
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.CANCELLED_BY_USER)
    assert ended.results is None


def test_a_cancel_after_the_end_is_refused(db: Database) -> None:
    job = submit_plan(db, {"a": (), "b": ()})
    steps_of(6, db)
    before = jobs.require_job(db, job.id)
    assert before.state is State.FAILED
    with pytest.raises(ConflictError):
        jobs.cancel(db, job.id)
    assert jobs.require_job(db, job.id).model_dump() == before.model_dump()


def test_a_second_cancel_changes_nothing(db: Database) -> None:
    job = submit_plan(db, {"a": (), "b": ()})
    steps_of(1, db)
    first = jobs.cancel(db, job.id)
    second = jobs.cancel(db, job.id)
    assert second.model_dump() == first.model_dump()


def test_a_job_with_only_queued_runs_left_is_still_running(db: Database) -> None:
    job = submit(db)
    claims.hand_back(db, claim(db).lease)
    assert jobs.require_job(db, job.id).state is State.RUNNING
    check_record(db)
    assert jobs.cancel(db, job.id).state is State.CANCELLED
    check_record(db)
