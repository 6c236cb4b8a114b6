"""The record's figures: what is counted, and for whom."""

from datetime import timedelta

import pytest
from record_kit import FAILED, claim, epoch, request, submit
from sqlmodel import update

from fmx_store import claims, jobs
from fmx_store.claims import Success
from fmx_store.database import Database
from fmx_store.figures import Figures, read_figures
from fmx_store.states import State
from fmx_store.submissions import Submission, record
from fmx_store.tables import Run, now
from fmx_store.viewers import View, Viewer


def test_an_empty_record_comes_to_nothing(db: Database) -> None:
    figures = read_figures(db)
    assert (figures.jobs, figures.runs, figures.due, figures.worker_runs) == ({}, {}, {}, {})
    assert (figures.num_epochs, figures.stored_bytes, figures.oldest_due_seconds) == (0, 0, 0.0)
    assert figures.record_bytes is not None
    assert figures.record_bytes > 0


def fill(db: Database) -> None:
    """One job of two trainings that has failed, one with a run that is trained, one on GPUs."""
    submit(db, seeds=2)
    lease = claim(db).lease
    claims.record_progress(db, lease, [epoch(1), epoch(2), epoch(3)], phase="training")
    claims.finish(db, lease, Success())
    claims.finish(db, claim(db).lease, FAILED)
    claims.finish(db, claim(db).lease, Success())
    submit(db, seeds=2)
    claims.record_progress(db, claim(db, "host-1").lease, [epoch(1)], phase="training")
    submit(db, seeds=3, spec={"device": "cuda"})


def check(figures: Figures) -> None:
    assert figures.jobs == {State.FAILED: 1, State.RUNNING: 1, State.QUEUED: 1}
    assert figures.runs == {
        (State.SUCCEEDED, "cpu"): 1,
        (State.FAILED, "cpu"): 1,
        (State.RUNNING, "cpu"): 1,
        (State.QUEUED, "cpu"): 1,
        (State.QUEUED, "gpu"): 3,
    }
    assert figures.due == {"cpu": 1, "gpu": 3}
    assert figures.worker_runs == {"host-1": 1}
    assert figures.num_epochs == 4


def test_what_there_is_is_counted(db: Database) -> None:
    fill(db)
    check(read_figures(db))


def test_the_oldest_due_run_has_an_age(db: Database) -> None:
    fill(db)
    assert read_figures(db).oldest_due_seconds < 300
    with db.write() as session:
        session.exec(update(Run).values(created_at=now() - timedelta(hours=2)))
    assert read_figures(db).oldest_due_seconds == pytest.approx(7200, abs=300)


def test_each_owner_sees_figures_of_their_own(db: Database) -> None:
    ada, bob = Viewer("ada", sees_all=False), Viewer("bob", sees_all=False)
    for viewer in (ada, ada, bob):
        record(db, Submission(request(), viewer=viewer), 10)
    of_ada, of_bob = (read_figures(View(db, viewer)) for viewer in (ada, bob))
    assert (of_ada.jobs, of_bob.jobs) == ({State.QUEUED: 2}, {State.QUEUED: 1})
    assert (of_ada.due, of_bob.due) == ({"cpu": 2}, {"cpu": 1})
    assert of_ada.record_bytes is None
    [job] = jobs.list_jobs(View(db, bob)).items
    jobs.cancel(View(db, bob), job.id)
    assert read_figures(View(db, bob)).runs == {(State.CANCELLED, "cpu"): 1}
    assert read_figures(View(db, ada)).runs == {(State.QUEUED, "cpu"): 2}
    nobody = read_figures(View(db, Viewer(None, sees_all=False)))
    assert (nobody.jobs, nobody.runs, nobody.stored_bytes) == ({}, {}, 0)
