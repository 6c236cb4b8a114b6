"""Jobs of hundreds of runs: what the database is asked does not grow with them."""

from collections.abc import Callable
from typing import Any

import pytest
from record_kit import (
    FAILED,
    add_all,
    check_record,
    claim,
    epoch,
    finish_all,
    run_named,
    statements,
    states_of,
    submit_plan,
)

from fmx_store import artifacts, claims, jobs, metrics
from fmx_store.claims import Success
from fmx_store.database import Database, Ring
from fmx_store.needs import list_needed
from fmx_store.overviews import require_overview
from fmx_store.states import State
from fmx_store.tables import Artifact, Blob
from fmx_store.tallies import tally_jobs

MANY = 32  # as many trainings as a request of this kit can ask for


def star(num_leaves: int) -> dict[str, tuple[str, ...]]:
    """A run that all others need."""
    return {"hub": (), **{f"leaf-{n}": ("hub",) for n in range(num_leaves)}}


def funnel(num_needed: int) -> dict[str, tuple[str, ...]]:
    """A run that needs all others."""
    names = tuple(f"part-{n}" for n in range(num_needed))
    return {**dict.fromkeys(names, ()), "whole": names}


def count(db: Database, do: Callable[[], Any]) -> int:
    with statements(db) as told:
        do()
    return len(told)


def test_as_much_is_asked_to_record_many_runs_as_few(db: Database) -> None:
    few = count(db, lambda: submit_plan(db, star(2)))
    assert count(db, lambda: submit_plan(db, star(MANY - 1))) == few
    assert few < 12


@pytest.mark.parametrize("outcome", [Success(), FAILED], ids=["succeeds", "fails"])
def test_as_much_is_asked_where_many_runs_wait_for_one(
    db: Database, rings: list[Ring], outcome: Any
) -> None:
    asked: list[int] = []
    for num_leaves in (2, MANY - 1):
        job = submit_plan(db, star(num_leaves))
        lease = claim(db).lease
        rings.clear()
        asked.append(count(db, lambda lease=lease: claims.finish(db, lease, outcome)))
        check_record(db)
        states = states_of(db, job.id)
        leaves = {states[f"leaf-{n}"] for n in range(num_leaves)}
        due = [run.id for run in jobs.list_runs(db, job.id)[1:-1] if run.state is State.QUEUED]
        assert leaves == {State.FAILED if outcome is FAILED else State.QUEUED}
        assert [run_id for run_id, _ in rings if run_id in due] == due
        finish_all(db, job.id)
    # One statement more may mark those that were announced.
    assert asked[1] <= asked[0] + 1


def test_runs_are_read_without_their_json_to_see_how_they_hang_together(db: Database) -> None:
    job = submit_plan(db, star(3))
    lease = claim(db).lease
    with statements(db) as told:
        claims.finish(db, lease, FAILED)
        jobs.retry(db, job.id)
        jobs.cancel(db, job.id)
        tally_jobs(db, [job.id])
        jobs.list_jobs(db)
    one = ("WHERE run.id = ", "WHERE job.id = ")  # a row, not as many as there are
    read = [s for s in told if s.startswith("SELECT") and not any(part in s for part in one)]
    assert any("run.waiting_for" in s for s in read)
    assert any("job.spec" in s for s in read)
    for column in ("run.training,", "run.summary", "run.error", "job.results"):
        assert not [s for s in read if column in s], column


def test_a_tally_says_what_the_runs_say(db: Database) -> None:
    job = submit_plan(db, {"a": (), "b": (), "c": ("a",), "d": ("b",), "e": ()})
    first, second = claim(db).lease, claim(db).lease
    claims.record_progress(db, first, [epoch(1), epoch(2, seconds=1.5)], phase="training")
    claims.record_progress(db, second, [epoch(1, seconds=2.0)], phase="data")
    claims.finish(db, second, FAILED)
    tally = tally_jobs(db, [job.id])[job.id]
    counts = {state: tally.count(state) for state in State}
    assert counts == {
        **dict.fromkeys(State, 0), State.RUNNING: 1, State.FAILED: 2, State.QUEUED: 2,
    }  # fmt: skip
    assert (tally.num_active, tally.phase, tally.have_ended) == (1, "training", False)
    runs = [run for run in jobs.list_runs(db, job.id) if run.name != "collation"]
    assert tally.epochs_done == sum(run.epochs_done for run in runs) == 3
    assert tally.epochs_total == sum(run.epochs_total for run in runs) == 100
    assert tally.epochs_left == 20 - 2 + 20 + 20
    assert tally.seconds_per_epoch == (1.0 + 2.0) / 2
    finish_all(db, job.id)


def test_the_first_active_run_of_the_plan_gives_the_phase(db: Database) -> None:
    job = submit_plan(db, {"a": (), "b": ()})
    first, second = claim(db).lease, claim(db).lease
    claims.record_progress(db, second, phase="export")
    claims.record_progress(db, first, phase="evaluation")
    assert tally_jobs(db, [job.id])[job.id].phase == "evaluation"
    claims.finish(db, first, Success())
    assert tally_jobs(db, [job.id])[job.id].phase == "export"
    claims.finish(db, second, Success())
    tally = tally_jobs(db, [job.id])[job.id]
    assert (tally.phase, tally.have_ended) == (None, True)


def test_what_many_needed_runs_left_takes_four_queries(db: Database) -> None:
    for num_needed in (2, MANY - 1):
        job = submit_plan(db, funnel(num_needed))
        for _ in range(num_needed):
            lease = claim(db).lease
            claims.record_progress(db, lease, [epoch(1), epoch(2)])
            claims.finish(db, lease, Success())
        whole = run_named(db, job.id, "whole")
        with statements(db) as told:
            needed = list_needed(db, whole)
            ids = [run.id for run in needed]
            histories = metrics.read_histories(db, ids)
            files = artifacts.artifacts_of_runs(db, ids)
        assert len([s for s in told if s.startswith("SELECT")]) == 4
        assert [run.name for run in needed] == [f"part-{n}" for n in range(num_needed)]
        for run in needed:
            assert histories[run.id] == metrics.read_metrics(db, run.id)
            assert len(histories[run.id]) == 2
        assert files == {run_id: {} for run_id in ids}
        finish_all(db, job.id)


def test_files_are_paged_by_the_bytes_of_their_paths(db: Database) -> None:
    job = submit_plan(db, {"a": ()})
    training, collation = jobs.list_runs(db, job.id)
    digest = "0" * 64
    add_all(db, [Blob(sha256=digest, size_bytes=1)])
    names = {"b": None, "B": None, "a/é": "a", "a/z": "a", "a/Z": "a", "ä": None, "a-b": None}
    files = [
        Artifact(
            job_id=job.id,
            path=path,
            run_id=(training if name else collation).id,
            sha256=digest,
            size_bytes=1,
            media_type="text/plain",
        )
        for path, name in names.items()
    ]
    add_all(db, files)
    expected = [(path, names[path]) for path in sorted(names)]
    for limit in (1, 2, 3, 7, 8):
        found: list[tuple[str, str | None]] = []
        cursor: str | None = None
        while cursor is not None or not found:
            page = artifacts.page_artifacts(db, job.id, limit=limit, cursor=cursor)
            found += [(artifact.path, name) for artifact, name in page.items]
            cursor = page.next_cursor
        assert found == expected
    assert [artifact.path for artifact in artifacts.list_artifacts(db, job.id)] == sorted(names)


def test_a_list_of_many_models_reads_their_ids_alone(db: Database) -> None:
    job = submit_plan(db, {"a": ()})
    with statements(db) as told:
        assert require_overview(db, job.id).models == []
    [query] = [s for s in told if "FROM model" in s]
    assert "test_accuracy" not in query
