"""Models: what finished runs leave."""

import pytest
from record_kit import claim, submit

from fmx_store import claims, models
from fmx_store.claims import Success
from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.overviews import read_overviews


def leave_models(db: Database, num_models: int) -> str:
    """A job with so many models."""
    job = submit(db, seeds=num_models)
    for number in range(num_models):
        summary = {"test_accuracy": number / 10, "val_accuracy": None}
        claims.finish(db, claim(db).lease, Success(summary, model=True))
    claims.finish(db, claim(db).lease, Success())
    return job.id


def test_models_are_listed_newest_first_in_pages(db: Database) -> None:
    first, second = leave_models(db, 3), leave_models(db, 2)
    everything = models.list_models(db).items
    assert [m.job_id for m in everything] == [second] * 2 + [first] * 3
    assert [m.test_accuracy for m in everything] == [0.1, 0.0, 0.2, 0.1, 0.0]
    page = models.list_models(db, limit=2)
    rest = models.list_models(db, limit=3, cursor=page.next_cursor)
    assert [m.id for m in (*page.items, *rest.items)] == [m.id for m in everything]
    assert rest.next_cursor is None
    assert [m.id for m in models.list_models(db, job_id=first).items] == [
        m.id for m in everything[2:]
    ]


def test_the_models_of_many_jobs_and_runs_come_at_once(db: Database) -> None:
    first, second, none = leave_models(db, 2), leave_models(db, 1), submit(db).id
    listed = models.list_models(db, job_id=first).items
    found = read_overviews(db, [first, second, none])
    assert [len(found[job_id].models) for job_id in (first, second, none)] == [2, 1, 0]
    assert found[first].models == sorted(model.id for model in listed)
    runs = {model.run_id: model.id for model in listed}
    assert models.ids_by_run(db, [*runs, "0" * 26]) == runs


def test_what_is_no_job_has_no_models(db: Database) -> None:
    leave_models(db, 1)
    for job_id in ("", "\0" * 26, "0" * 26):
        assert list(models.list_models(db, job_id=job_id).items) == []


def test_a_model_is_found_by_its_id(db: Database) -> None:
    leave_models(db, 1)
    [model] = models.list_models(db).items
    assert models.require_model(db, model.id).model_dump() == model.model_dump()
    with pytest.raises(NotFoundError):
        models.require_model(db, model.run_id)
