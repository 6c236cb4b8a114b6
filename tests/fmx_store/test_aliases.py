"""Aliases: names that are moved from model to model, each owner's apart."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from record_kit import claim, request

from fmx_store import aliases, claims, jobs, models
from fmx_store.claims import Success
from fmx_store.database import Database
from fmx_store.errors import (
    AliasNameError,
    AmbiguousAliasError,
    ConflictError,
    CursorError,
    NotFoundError,
)
from fmx_store.pages import encode_cursor
from fmx_store.submissions import Submission, record
from fmx_store.tables import Model, now
from fmx_store.viewers import View, Viewer

ADA, BOB = Viewer("ada", sees_all=False), Viewer("bob", sees_all=False)
ROOT = Viewer("root", sees_all=True)


def leave_model(db: Database, owner: str | None = None) -> Model:
    """The model of a new job."""
    job_id = record(db, Submission(request(), viewer=Viewer(owner, sees_all=True)), 10).job_id
    for outcome in (Success({"test_accuracy": 0.5}, model=True), Success()):
        claims.finish(db, claim(db).lease, outcome)
    [model] = models.list_models(db, job_id=job_id).items
    return model


def test_an_alias_names_one_model_after_another(db: Database) -> None:
    first, second = leave_model(db), leave_model(db)
    began = now()
    assert aliases.promote(db, "production", first.id).model_id == first.id
    assert models.require_model(db, "production").id == first.id
    moved = aliases.promote(db, "production", second.id)
    assert models.require_model(db, "production").id == second.id
    found = aliases.require_alias(db, "production")
    assert (found.model_id, found.updated_at) == (second.id, moved.updated_at)
    assert found.updated_at >= began
    aliases.remove(db, "production")
    with pytest.raises(NotFoundError):
        models.require_model(db, "production")
    with pytest.raises(NotFoundError):
        aliases.remove(db, "production")
    assert models.require_model(db, second.id).id == second.id


@pytest.mark.parametrize("name", ["a", "v1.2_best-of", "0", "A" * 64, "1" * 25, "1" * 27])
def test_names_that_models_may_have(db: Database, name: str) -> None:
    model = leave_model(db)
    aliases.promote(db, name, model.id)
    assert models.require_model(db, name).id == model.id


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-a", "a/b", "a b", "ä", "a\0", "A" * 65, "1" * 26, "last", "stats", "aliases"],
)
def test_names_that_no_model_may_have(db: Database, name: str) -> None:
    model = leave_model(db)
    with pytest.raises(AliasNameError):
        aliases.promote(db, name, model.id)
    with pytest.raises(NotFoundError):
        aliases.require_alias(db, name)


def test_what_is_no_model_gets_no_alias(db: Database) -> None:
    model = leave_model(db)
    aliases.promote(db, "staging", model.id)
    for unknown in ("7" * 26, "", "\0" * 26, model.job_id, "staging"):
        with pytest.raises(NotFoundError):
            aliases.promote(db, "production", unknown)
    assert [alias.name for alias in aliases.list_aliases(db).items] == ["staging"]


def test_a_job_whose_model_has_a_name_stays(db: Database) -> None:
    model = leave_model(db)
    aliases.promote(db, "production", model.id)
    aliases.promote(db, "blue", model.id)
    with pytest.raises(ConflictError, match="blue, production"):
        jobs.remove(db, model.job_id)
    aliases.remove(db, "blue")
    with pytest.raises(ConflictError, match="'production'"):
        jobs.remove(db, model.job_id)
    aliases.promote(db, "production", leave_model(db).id)
    jobs.remove(db, model.job_id)
    with pytest.raises(NotFoundError):
        models.require_model(db, model.id)


def test_each_owner_has_names_of_their_own(db: Database) -> None:
    of_ada, of_bob = leave_model(db, "ada"), leave_model(db, "bob")
    ada, bob, root = (View(db, viewer) for viewer in (ADA, BOB, ROOT))
    with pytest.raises(NotFoundError):
        aliases.promote(bob, "production", of_ada.id)
    aliases.promote(ada, "production", of_ada.id)
    for look in (aliases.require_alias, models.require_model, aliases.remove):
        with pytest.raises(NotFoundError):
            look(bob, "production")
    assert not aliases.list_aliases(bob).items
    aliases.promote(bob, "production", of_bob.id)
    assert models.require_model(ada, "production").id == of_ada.id
    assert models.require_model(bob, "production").id == of_bob.id
    with pytest.raises(AmbiguousAliasError):
        models.require_model(root, "production")
    of_root = leave_model(db, "root")
    aliases.promote(root, "production", of_root.id)
    assert models.require_model(root, "production").id == of_root.id
    other = leave_model(db, "ada")
    aliases.promote(root, "production", other.id)
    assert models.require_model(ada, "production").id == other.id, "a model's owner has its alias"
    assert [alias.owner for alias in aliases.list_aliases(root).items] == ["ada", "bob", "root"]


def test_aliases_are_listed_by_name_in_pages(db: Database) -> None:
    for owner in ("ada", "bob"):
        model = leave_model(db, owner)
        for number in range(3):
            aliases.promote(db, f"name-{number}", model.id)
    found: list[tuple[str, str]] = []
    cursor = None
    while True:
        page = aliases.list_aliases(db, limit=2, cursor=cursor)
        found += [(alias.name, alias.owner) for alias in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [(f"name-{n}", owner) for n in range(3) for owner in ("ada", "bob")]
    for cursor in ("!", encode_cursor("name-1")):
        with pytest.raises(CursorError):
            aliases.list_aliases(db, cursor=cursor)


def test_there_is_an_end_of_names(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "MAX_ALIASES", 2)
    model = leave_model(db)
    for name in ("a", "b", "b"):
        aliases.promote(db, name, model.id)
    with pytest.raises(ConflictError, match="2 aliases"):
        aliases.promote(db, "c", model.id)
    aliases.promote(db, "c", leave_model(db, "ada").id)


def test_promotions_and_deletions_at_once(db: Database) -> None:
    """Every alias names a model that is there, whoever was first."""
    found = [leave_model(db) for _ in range(6)]
    start = threading.Barrier(len(found) + 2)

    def promote(number: int) -> None:
        start.wait()
        for model in found[number::2]:
            with suppress(NotFoundError):
                aliases.promote(db, "production", model.id)

    def delete(model: Model) -> None:
        start.wait()
        with suppress(ConflictError):
            jobs.remove(db, model.job_id)

    with ThreadPoolExecutor(len(found) + 2) as pool:
        tasks = [pool.submit(promote, number) for number in range(2)]
        tasks += [pool.submit(delete, model) for model in found]
        for task in tasks:
            task.result()
    for alias in aliases.list_aliases(db).items:
        assert models.require_model(db, alias.name).id == alias.model_id
