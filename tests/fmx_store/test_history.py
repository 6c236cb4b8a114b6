"""The history's checker: it finds each kind of violation, and nothing where all is well."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from record_kit import (
    FAILED,
    check_record,
    claim,
    epoch,
    finish_all,
    run_named,
    statements,
    submit,
    submit_plan,
)
from services import ROOT, Column
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, delete, select, update

from fmx_store import artifacts, claims, event_log, history, jobs
from fmx_store.blobs import FolderStore
from fmx_store.claims import Claim, Success
from fmx_store.database import Database
from fmx_store.history import check_history
from fmx_store.history_rules import Rule
from fmx_store.maintenance import Maintenance
from fmx_store.settings import Settings
from fmx_store.states import State
from fmx_store.tables import Artifact, Event, Job, Metric, Model, Pin, Run, RunNeed, now, table_of


class Lived:
    """A record in which everything has happened; jobs are known by what became of them."""

    def __init__(self, db: Database, blobs: FolderStore, folder: Path) -> None:
        self.db, self.blobs, self.folder = db, blobs, folder
        self.done = submit(db).id
        self.train(claim(db))
        finish_all(db, self.done)
        self.failed = submit_plan(db, {"a": (), "b": ("a",)}).id
        self.train(claim(db))
        finish_all(db, self.failed, {"b": FAILED})
        self.cancelled = submit(db).id
        taken = claim(db).lease
        jobs.cancel(db, self.cancelled)
        claims.finish(db, taken, Success())
        self.deleted = submit(db).id
        jobs.remove(db, self.deleted)
        self.running = submit(db).id
        running = claim(db)
        self.report(running)
        self.stage(running, "x")
        self.queued = submit_plan(db, {"a": (), "b": ("a",)}).id

    def run(self, became: str, name: str | None = None) -> Run:
        """A run of one of the jobs; the first, if it is not named."""
        job_id: str = getattr(self, became)
        return run_named(self.db, job_id, name) if name else jobs.list_runs(self.db, job_id)[0]

    def report(self, claimed: Claim) -> None:
        for number in (1, 2, 3):
            claims.record_progress(self.db, claimed.lease, [epoch(number)])

    def stage(self, claimed: Claim, name: str) -> list[claims.StagedFile]:
        source = self.folder / "source"
        source.write_text(f"{name} of {claimed.run.id}")
        files = {f"{claimed.run.name}/{name}": source}
        return artifacts.stage(self.db, self.blobs, claimed.lease, files)

    def train(self, claimed: Claim) -> None:
        self.report(claimed)
        staged = self.stage(claimed, "model.onnx")
        claims.finish(self.db, claimed.lease, Success(files=staged, model=True))


@pytest.fixture
def lived(db: Database, blobs: FolderStore, tmp_path: Path) -> Lived:
    return Lived(db, blobs, tmp_path)


def rules_of(lived: Lived) -> set[Rule]:
    return {violation.rule for violation in check_history(lived.db, lived.blobs)}


def test_a_history_that_is_whole_is_clean(lived: Lived) -> None:
    everything = [lived.done, lived.failed, lived.cancelled, lived.deleted, lived.running]
    assert check_history(lived.db, lived.blobs, everything) == []


Spoil = Callable[[Session, Lived], object]


def remove_job(session: Session, lived: Lived) -> None:
    session.exec(delete(Job).where(col(Job.id) == lived.done))


def set_job(became: str, **values: Any) -> Spoil:
    return lambda session, lived: session.exec(
        update(Job).where(col(Job.id) == getattr(lived, became)).values(**values)
    )


def set_run(became: str, which: str | None = None, /, **values: Any) -> Spoil:
    return lambda session, lived: session.exec(
        update(Run).where(col(Run.id) == lived.run(became, which).id).values(**values)
    )


def set_epoch(number: int, **values: Any) -> Spoil:
    def spoil(session: Session, lived: Lived) -> None:
        mine = (col(Metric.run_id) == lived.run("done").id, col(Metric.epoch) == number)
        session.exec(update(Metric).where(*mine).values(**values))

    return spoil


def remove_rows(table: type[Any], became: str) -> Spoil:
    return lambda session, lived: session.exec(
        delete(table).where(col(table.run_id) == lived.run(became).id)
    )


def add_event(became: str, **values: Any) -> Spoil:
    """A run's move that nothing in the record stands for."""

    def spoil(session: Session, lived: Lived) -> None:
        run = lived.run(became)
        job = session.get_one(Job, run.job_id)
        job.version += 1
        given = {"job_id": job.id, "seq": job.version, "type": "run", "run_id": run.id}
        given["attempt"] = run.attempt
        session.add(Event.model_validate({**given, **values}))

    return spoil


def remove_first_event(session: Session, lived: Lived) -> None:
    session.exec(delete(Event).where(col(Event.job_id) == lived.done, col(Event.seq) == 1))


def damage_file(_session: Session, lived: Lived) -> None:
    path = file_of(lived)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def remove_file(_session: Session, lived: Lived) -> None:
    file_of(lived).unlink()


def file_of(lived: Lived) -> Path:
    [artifact] = artifacts.list_artifacts(lived.db, lived.done)
    path = lived.blobs.get_path(artifact.sha256)
    assert path is not None
    return path


def pin_again(session: Session, lived: Lived) -> None:
    run = lived.run("done")
    sha256 = session.exec(select(Artifact.sha256).where(Artifact.run_id == run.id)).one()
    session.add(Pin(sha256=sha256, run_id=run.id, attempt=run.attempt))


RUNNING, SUCCEEDED = {"state": State.RUNNING}, {"state": State.SUCCEEDED}

SPOILS: dict[str, tuple[Rule, Spoil]] = {
    "a job is gone": (Rule.LOST, remove_job),
    "a run is gone": (
        Rule.INCOMPLETE,
        lambda session, lived: session.exec(
            delete(Run).where(col(Run.id) == lived.run("failed").id)
        ),
    ),
    "a run is twice": (Rule.INCOMPLETE, set_run("failed", "b", name="a")),
    "a job has no collation": (Rule.INCOMPLETE, set_run("done", "collation", role="training")),
    "the submission is not logged": (Rule.NUMBERING, remove_first_event),
    "the version lags": (Rule.NUMBERING, set_job("done", version=1)),
    "a run succeeds twice": (Rule.ILLEGAL_MOVE, add_event("done", data=SUCCEEDED)),
    "a run fails unbegun": (
        Rule.ILLEGAL_MOVE,
        add_event("queued", data={"state": "failed", "reason": "nan_loss"}),
    ),
    "an old attempt has a say": (Rule.ATTEMPT, add_event("running", attempt=0, data=RUNNING)),
    "an attempt is left out": (Rule.ATTEMPT, add_event("queued", attempt=2, data=RUNNING)),
    "an old attempt publishes": (
        Rule.ATTEMPT,
        add_event("done", type="artifacts", attempt=0, data={"paths": []}),
    ),
    "a run begins in a job that has not": (
        Rule.UNTIMELY,
        add_event("queued", attempt=1, data=RUNNING),
    ),
    "a run succeeds after a cancel": (Rule.UNTIMELY, add_event("cancelled", data=SUCCEEDED)),
    "a run's state is no move": (Rule.LOG_DIFFERS, set_run("queued", state=State.FAILED)),
    "a run's attempt is no claim": (Rule.LOG_DIFFERS, set_run("running", attempt=2)),
    "a job's state is no move": (Rule.LOG_DIFFERS, set_job("done", state=State.FAILED)),
    "a job goes on after its runs": (Rule.JOB_DIFFERS, set_job("done", state=State.RUNNING)),
    "a job has no reason": (Rule.JOB_DIFFERS, set_job("failed", reason=None)),
    "a job has no end": (Rule.JOB_DIFFERS, set_job("done", finished_at=None)),
    "a run waits for too many": (Rule.WAITING, set_run("queued", "b", waiting_for=2)),
    "a run does not wait": (Rule.WAITING, set_run("queued", "b", waiting_for=0)),
    "an epoch is missing": (Rule.METRICS, set_epoch(2, epoch=7)),
    "an epoch is of another attempt": (Rule.METRICS, set_epoch(2, attempt=0)),
    "an epoch is of no attempt": (Rule.METRICS, set_epoch(3, attempt=9)),
    "the last epoch is missing": (Rule.METRICS, set_run("done", epochs_done=4)),
    "a published file is gone": (Rule.FILES, remove_rows(Artifact, "done")),
    "a model is gone": (Rule.MODEL, remove_rows(Model, "done")),
    "a model is of no success": (
        Rule.MODEL,
        lambda session, lived: session.exec(
            update(Model)
            .where(col(Model.run_id) == lived.run("done").id)
            .values(run_id=lived.run("running").id)
        ),
    ),
    "a run that has ended has a worker": (Rule.LEFTOVER, set_run("done", worker="w")),
    "a run that has ended pins a file": (Rule.LEFTOVER, pin_again),
    "a run that runs has ended": (
        Rule.LEFTOVER,
        lambda session, lived: set_run("running", finished_at=lived.run("done").finished_at)(
            session, lived
        ),
    ),
    "a file is damaged": (Rule.DAMAGED, damage_file),
    "a file is gone": (Rule.DAMAGED, remove_file),
}


@pytest.mark.parametrize("spoiled", SPOILS)
def test_a_violation_is_found(lived: Lived, spoiled: str) -> None:
    rule, spoil = SPOILS[spoiled]
    with lived.db.write() as session:
        spoil(session, lived)
    assert rule in rules_of(lived)


def test_each_rule_is_tried() -> None:
    assert {rule for rule, _ in SPOILS.values()} == set(Rule)


def test_an_accepted_job_that_never_was_is_found(db: Database) -> None:
    [violation] = check_history(db, accepted=["0" * 26])
    assert (violation.rule, violation.job_id) == (Rule.LOST, "0" * 26)


def test_a_dependency_that_is_not_met_is_found(lived: Lived) -> None:
    """A run that has begun needs one that has failed."""
    with lived.db.write() as session:
        need = {"run_id": lived.run("done").id, "needs_id": lived.run("failed", "b").id}
        session.add(RunNeed(**need))
    assert rules_of(lived) == set(), "the needs of other jobs are no business of this one"
    with lived.db.write() as session:
        a, b = lived.run("failed", "a"), lived.run("failed", "b")
        session.add(RunNeed(run_id=a.id, needs_id=b.id))
    assert rules_of(lived) == {Rule.WAITING}


def test_many_jobs_are_read_in_several_parts(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmx_store.history.JOBS_AT_ONCE", 3)
    ids = [submit(db).id for _ in range(8)]
    for job_id in ids[::2]:
        jobs.remove(db, job_id)
    assert check_history(db, accepted=ids) == []
    with db.write() as session:
        session.exec(update(Job).values(version=0))
    assert {v.job_id for v in check_history(db)} == set(ids[1::2])


def test_a_job_that_is_written_meanwhile_is_read_as_of_one_moment(db: Database) -> None:
    """Between two queries of one look another transaction ends the job."""
    job_id = submit(db).id
    other = Database(db.url)
    with history.look(db) as connection:
        connection.execute(sql_select(table_of(Job))).all()
        jobs.cancel(other, job_id)
        [seen] = history.read(connection, [job_id])
    other.close()
    assert seen.job is not None
    assert (seen.job.state, [run.state for run in seen.runs]) == (State.QUEUED, [State.QUEUED] * 2)
    check_record(db)


def test_nothing_changes_or_removes_an_event(
    db: Database, blobs: FolderStore, tmp_path: Path
) -> None:
    with statements(db) as told:
        lived = Lived(db, blobs, tmp_path)
        jobs.retry(db, lived.failed)
        jobs.remove(db, lived.done)
    written = [statement.split(maxsplit=3) for statement in told]
    assert not [w for w in written if w[0] == "UPDATE" and w[1] == "event"]
    assert not [w for w in written if w[:3] == ["DELETE", "FROM", "event"]]
    assert [w for w in written if w[:3] == ["INSERT", "INTO", "event"]]


def events_left(db: Database) -> dict[str, list[str]]:
    left: dict[str, list[str]] = {}
    with db.read() as session:
        for event in session.exec(select(Event).order_by(col(Event.job_id), col(Event.seq))):
            left.setdefault(event.job_id, []).append(event.type)
    return left


def test_a_deleted_job_leaves_its_events_for_a_while(db: Database) -> None:
    kept, deleted = submit(db).id, submit(db).id
    jobs.remove(db, deleted)
    assert events_left(db) == {kept: ["job"], deleted: ["job", "deleted"]}
    assert event_log.forget_deleted(db, timedelta(days=1)) == 0
    assert event_log.forget_deleted(db, timedelta(0)) == 1
    assert events_left(db) == {kept: ["job"]}


def test_a_sweep_forgets_what_was_deleted_long_ago(db: Database, blobs: FolderStore) -> None:
    ids = [submit(db).id for _ in range(3)]
    for job_id in ids:
        jobs.remove(db, job_id)
    with db.write() as session:
        old = update(Event).where(col(Event.job_id) != ids[2])
        session.exec(old.values(at=now() - timedelta(days=8)))
    Maintenance(db, blobs, Settings(event_days=9), lambda _: None).sweep()
    assert set(events_left(db)) == set(ids)
    Maintenance(db, blobs, Settings(event_days=7), lambda _: None).sweep()
    assert set(events_left(db)) == {ids[2]}


def test_the_command_says_what_it_found(embedded_column: Column) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "fmx_store.admin", "history", *arguments],
            cwd=ROOT,
            env=embedded_column.process_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout

    db = Database(embedded_column.settings().database)
    job_id = submit(db).id
    assert run() == (0, "the history is clean\n")
    with db.write() as session:
        session.exec(update(Run).where(col(Run.role) == "training").values(waiting_for=3))
    [run_id] = [run.id for run in jobs.list_runs(db, job_id)[:1]]
    status, said = run()
    assert (status, said.splitlines()[-1]) == (1, "1 violations")
    status, said = run("--json")
    assert status == 1
    [violation] = json.loads(said)["violations"]
    assert (violation["job_id"], violation["run_id"], violation["rule"]) == (
        job_id,
        run_id,
        "waiting",
    )
    db.close()


def test_many_jobs_take_little_time(db: Database) -> None:
    ids = [submit(db).id for _ in range(150)]
    with statements(db) as told:
        assert check_history(db, accepted=ids) == []
    assert len([t for t in told if t.startswith("SELECT")]) < 40, "queries a hundred jobs, not one"
