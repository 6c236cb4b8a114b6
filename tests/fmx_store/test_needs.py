"""Which runs wait for which: the rows that say it, and what follows from them."""

import random
from collections.abc import Mapping, Sequence

import pytest
from record_kit import FAILED, check_record, claim, finish_all, run_named, states_of, submit_plan
from sqlmodel import select

from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import PlannedRun
from fmx_store import claims, jobs, submissions
from fmx_store.claims import Success
from fmx_store.database import Database
from fmx_store.needs import list_needed, reduce_needs
from fmx_store.states import State
from fmx_store.tables import RunNeed

Needs = Mapping[str, Sequence[str]]


def make_plan(needs: Needs) -> list[PlannedRun]:
    training = plan(parse_request({"kind": "q1"}))[0].training
    return [PlannedRun(name=name, training=training, needs=tuple(n)) for name, n in needs.items()]


def follow(needs: Needs, name: str) -> set[str]:
    """All that a run waits for, directly or through others."""
    return {n for direct in needs[name] for n in (direct, *follow(needs, direct))}


@pytest.mark.parametrize(
    ("needs", "reduced"),
    [
        ({"a": (), "b": ("a",), "c": ("a", "b")}, {"a": [], "b": ["a"], "c": ["b"]}),
        ({"a": (), "b": (), "c": ("a", "b")}, {"a": [], "b": [], "c": ["b", "a"]}),
        (
            {"a": (), "b": ("a",), "c": ("a",), "d": ("a", "b", "c")},
            {"a": [], "b": ["a"], "c": ["a"], "d": ["c", "b"]},
        ),
    ],
)
def test_what_others_imply_is_left_out(needs: Needs, reduced: Needs) -> None:
    assert reduce_needs(make_plan(needs), done=()) == reduced


def test_the_reduced_needs_imply_what_was_asked() -> None:
    draw = random.Random(0)  # noqa: S311 - a test's
    for _ in range(200):
        names = [f"run-{number}" for number in range(8)]
        needs = {
            name: [n for n in names[:number] if draw.random() < 0.4]
            for number, name in enumerate(names)
        }
        reduced = reduce_needs(make_plan(needs), done=())
        for name in names:
            assert follow(reduced, name) == follow(needs, name)
            assert set(reduced[name]) <= set(needs[name])


def test_a_run_that_is_done_waits_for_nothing_and_implies_nothing() -> None:
    needs = {"a": (), "b": ("a",), "c": ("a", "b")}
    assert reduce_needs(make_plan(needs), done={"b"}) == {"a": [], "b": [], "c": ["b", "a"]}


def test_a_need_that_is_not_planned_before_is_an_error() -> None:
    with pytest.raises(KeyError):
        reduce_needs(make_plan({"a": ("b",), "b": ()}), done=())


def test_a_search_of_many_trials_makes_few_rows(db: Database) -> None:
    search = {"trials": 40, "abreast": 4}
    asked = parse_request({"kind": "q2", "spec": {"search": search, "max_epochs": 2}})
    planned = submissions.plan_runs(db, asked, 100)
    job = jobs.submit(db, asked, 100).job
    with db.read() as session:
        assert len(session.exec(select(RunNeed)).all()) == 36 * 4 + 40
    runs = {run.name: run for run in jobs.list_runs(db, job.id)}
    for p in planned:
        assert [needed.name for needed in list_needed(db, runs[p.name])] == list(p.needs)
    check_record(db)


def test_the_trials_of_a_search_run_generation_by_generation(db: Database) -> None:
    search = {"trials": 6, "abreast": 2}
    asked = parse_request({"kind": "q2", "spec": {"search": search, "max_epochs": 2}})
    job = jobs.submit(db, asked, 100).job
    for first in (1, 3, 5):
        generation = [claim(db), claim(db)]
        assert [c.run.name for c in generation] == [f"trial-{first}", f"trial-{first + 1}"]
        assert claims.claim(db, "w", ("auto", "cpu")) is None
        for claimed in generation:
            claims.finish(db, claimed.lease, Success())
        check_record(db)
    assert finish_all(db, job.id).state is State.SUCCEEDED


def test_a_failed_trial_fails_those_that_learn_from_it(db: Database) -> None:
    search = {"trials": 6, "abreast": 2}
    asked = parse_request({"kind": "q2", "spec": {"search": search, "max_epochs": 2}})
    job = jobs.submit(db, asked, 100).job
    ended = finish_all(db, job.id, {"trial-2": FAILED})
    assert states_of(db, job.id) == {
        "trial-1": "succeeded",
        **{f"trial-{number}": "failed" for number in range(2, 7)},
        "collation": "succeeded",
    }
    assert ended.error is not None
    assert ended.error["run"] == "trial-2"
    check_record(db)
    jobs.retry(db, job.id)
    check_record(db)
    assert finish_all(db, job.id).state is State.SUCCEEDED
    assert run_named(db, job.id, "trial-1").attempt == 1


def test_a_chain_is_given_all_that_it_builds_on(db: Database) -> None:
    job = submit_plan(db, {"a": (), "b": ("a",), "lone": (), "c": ("b",)})
    needed = list_needed(db, run_named(db, job.id, "c"))
    assert [run.name for run in needed] == ["a", "b"]
    assert list_needed(db, run_named(db, job.id, "lone")) == []
