"""Keys, viewers and quotas in the record itself."""

from datetime import timedelta
from typing import Any

import pytest
from record_kit import finish_all, request, statements, submit
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from fmx_store import jobs, keys, models, quotas
from fmx_store.claims import Success
from fmx_store.database import Database
from fmx_store.errors import NotFoundError, QuotaError
from fmx_store.keys import Scope
from fmx_store.quotas import Quotas
from fmx_store.settings import Settings
from fmx_store.submissions import Recorded, Submission, record_all
from fmx_store.tables import Job, Model, now
from fmx_store.viewers import EVERYONE, View, Viewer

ADA = Viewer("ada", sees_all=False)
BOB = Viewer("bob", sees_all=False)
STRANGER = Viewer(None, sees_all=False)


def test_a_key_is_found_by_its_hash_alone(db: Database) -> None:
    row, key = keys.create(db, "ada", {Scope.READ, Scope.PREDICT})
    found = keys.find_grant(db, keys.hash_key(key))
    assert found is not None
    assert (found.key_id, found.viewer) == (row.id, ADA)
    assert found.scopes == {Scope.READ, Scope.PREDICT}
    for other in (key, key.upper(), keys.hash_key(key[:-1]), keys.hash_key(key + "x"), ""):
        assert keys.find_grant(db, other) is None


def test_keys_differ(db: Database) -> None:
    made = {keys.create(db, "ada", {Scope.READ})[1] for _ in range(50)}
    assert len(made) == 50
    assert {len(key) for key in made} == {len("fmx_") + 43}


def test_an_admin_sees_all_and_may_do_all(db: Database) -> None:
    _, key = keys.create(db, "root", {Scope.ADMIN})
    grant = keys.find_grant(db, keys.hash_key(key))
    assert grant is not None
    assert grant.viewer == Viewer("root", sees_all=True)
    assert all(grant.allows(scope) for scope in Scope)


def test_what_is_over_is_found_no_more(db: Database) -> None:
    expired, key = keys.create(db, "ada", {Scope.READ}, expires_at=now() - timedelta(seconds=1))
    assert keys.find_grant(db, keys.hash_key(key)) is None
    assert not keys.has_live_key(db)
    good, key = keys.create(db, "ada", {Scope.READ}, expires_at=now() + timedelta(days=1))
    assert keys.find_grant(db, keys.hash_key(key)) is not None
    assert keys.has_live_key(db)
    first = keys.revoke(db, good.id).revoked_at
    assert keys.find_grant(db, keys.hash_key(key)) is None
    assert keys.revoke(db, good.id).revoked_at == first
    assert not keys.has_live_key(db)
    assert [item.id for item in keys.list_keys(db)] == [expired.id, good.id]
    with pytest.raises(NotFoundError):
        keys.revoke(db, "0" * 26)


def test_a_full_disk_keeps_nobody_out(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a key was used can't be noted then; it is as good as before."""
    _, key = keys.create(db, "ada", {Scope.READ})

    def fail(*_: Any, **__: Any) -> Any:
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    monkeypatch.setattr(db, "write", fail)
    assert keys.find_grant(db, keys.hash_key(key)) is not None


def owned_job(db: Database, viewer: Viewer, **values: Any) -> str:
    [recorded] = record_all(db, [Submission(request(**values), viewer=viewer)], 100)
    assert isinstance(recorded, Recorded)
    return recorded.job_id


def test_a_job_and_its_model_are_the_submitters(db: Database) -> None:
    job_id = owned_job(db, ADA)
    finish_all(
        db, job_id, {run.name: Success(model=True) for run in jobs.list_runs(db, job_id)[:1]}
    )
    with db.read() as session:
        assert session.exec(select(Job.owner)).all() == ["ada"]
        assert session.exec(select(Model.owner)).all() == ["ada"]
    for viewer, number in ((ADA, 1), (BOB, 0), (STRANGER, 0), (EVERYONE, 1)):
        view = View(db, viewer)
        assert len(jobs.list_jobs(view).items) == number
        assert len(models.list_models(view).items) == number


def test_what_has_no_owner_is_no_strangers(db: Database) -> None:
    job_id = submit(db).id
    for viewer in (ADA, STRANGER):
        with pytest.raises(NotFoundError):
            jobs.require_job(View(db, viewer), job_id)
        assert len(jobs.list_jobs(View(db, viewer)).items) == 0
    assert jobs.require_job(View(db, EVERYONE), job_id).owner is None


def test_nobody_locks_another_owners_job(db: Database) -> None:
    job_id = owned_job(db, ADA)
    bob = View(db, BOB)
    for do in (jobs.cancel, jobs.retry, jobs.remove):
        with pytest.raises(NotFoundError):
            do(bob, job_id)
    jobs.cancel(View(db, ADA), job_id)
    jobs.retry(View(db, ADA), job_id)
    jobs.remove(View(db, ADA), job_id)


def submissions(number: int, viewer: Viewer = EVERYONE, **values: Any) -> list[Submission]:
    return [Submission(request(**values), viewer=viewer) for _ in range(number)]


def test_a_group_is_taken_in_as_far_as_there_is_place(db: Database) -> None:
    allowed = Quotas(Settings(max_queued_runs=7))
    answers = record_all(db, submissions(4, seeds=2), 100, allowed)
    assert [type(answer) for answer in answers] == [Recorded] * 3 + [QuotaError]
    answers = record_all(db, submissions(1, seeds=2) + submissions(2), 100, allowed)
    assert [type(answer) for answer in answers] == [QuotaError, Recorded, QuotaError]
    assert len(jobs.list_jobs(db).items) == 4


def test_owners_do_not_take_each_others_places(db: Database) -> None:
    allowed = Quotas(Settings(max_queued_runs=5, max_queued_runs_per_owner=3))
    mixed = submissions(4, ADA) + submissions(4, BOB)
    answers = record_all(db, mixed, 100, allowed)
    taken = [isinstance(answer, Recorded) for answer in answers]
    assert taken == [True] * 3 + [False] + [True] * 2 + [False] * 2
    refused = answers[3]
    assert isinstance(refused, QuotaError)
    assert (refused.owner, refused.used, refused.allowed) == ("ada", 3, 3)


def test_what_waits_is_counted_once_in_a_while(db: Database) -> None:
    allowed = Quotas(Settings(max_queued_runs=1000))
    with statements(db) as told:
        for _ in range(20):
            record_all(db, submissions(1), 100, allowed)
    counts = [statement for statement in told if "count(*)" in statement]
    assert 1 <= len(counts) <= 5


def test_what_is_reused_passes_quotas_too(db: Database) -> None:
    asked = request()
    job = jobs.submit(db, asked, 100).job
    finish_all(db, job.id)
    again = asked.model_copy(update={"reuse": True})
    none = Quotas(Settings(max_queued_runs=1))
    record_all(db, submissions(1), 100, none)
    [answer] = record_all(db, [Submission(again)], 100, none)
    assert isinstance(answer, QuotaError)


def test_bytes_of_an_owner_are_those_of_their_jobs(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "BYTES_SECONDS", 0.0)
    owned_job(db, ADA)
    with db.look() as connection:
        for owner in (None, "ada", "bob"):
            assert quotas.sum_stored(connection, owner) == 0
            assert quotas.count_queued(connection, owner) == (0 if owner == "bob" else 1)
