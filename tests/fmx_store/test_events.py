"""A job's story: told in order, gone on with exactly, wherever it broke off."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from record_kit import FAILED, add_all, check_record, claim, epoch, finish_all, submit
from sqlmodel import col, delete, update

from fmx_store import claims, events, jobs
from fmx_store.checkpoints import StoredCheckpoint
from fmx_store.claims import Lease, StagedFile, Success
from fmx_store.database import Database
from fmx_store.errors import CursorError, NotFoundError
from fmx_store.events import Cursor, Told, read_window
from fmx_store.metrics import read_rows
from fmx_store.progress import Progress
from fmx_store.tables import Blob, Event, Job
from fmx_store.viewers import View, Viewer

SHA = "ab" * 32


def read_all(db: Database, job_id: str, cursor: Cursor) -> Iterator[Told]:
    """All that comes after a cursor."""
    has_more = True
    while has_more:
        window = read_window(db, job_id, cursor)
        yield from window.events
        cursor, has_more = window.cursor, window.has_more


def told(db: Database, job_id: str, after: str = "0") -> list[tuple[str, dict[str, Any]]]:
    return [(each.name, dict(each.data)) for each in read_all(db, job_id, Cursor.parse(after))]


def names(db: Database, job_id: str) -> list[str]:
    return [name for name, _ in told(db, job_id)]


def record(db: Database, lease: Lease, *numbers: int) -> None:
    claims.record_progress(db, lease, [epoch(number) for number in numbers])


def play(story: Sequence[Told]) -> dict[str, list[list[Any]]]:
    """The epochs of each run that a listener ends up with; none may come twice or be missing."""
    known: dict[str, list[list[Any]]] = {}
    for each in story:
        rows = known.setdefault(each.data.get("run", ""), [])
        if each.name == "rewound":
            del rows[each.data["epoch"] :]
        elif each.name == "epochs":
            assert each.data["rows"][0][0] == len(rows) + 1
            rows += each.data["rows"]
    return {run: rows for run, rows in known.items() if rows}


def live_through(db: Database) -> tuple[str, list[Told]]:
    """A job with all that may happen, and its story as someone heard it who always listened."""
    add_all(db, [Blob(sha256=SHA, size_bytes=3)])
    job = submit(db, seeds=3)
    heard: list[Told] = []

    def listen() -> None:
        cursor = heard[-1].cursor if heard else Cursor()
        heard.extend(read_all(db, job.id, cursor))

    listen()
    first, second, third = (claim(db).lease for _ in range(3))
    for number in range(1, 6):
        claims.record_all(
            db, {lease: Progress([epoch(number)]) for lease in (first, second, third)}
        )
        if number % 2:
            listen()
    stored = StoredCheckpoint(3, SHA, 3)
    claims.record_all(db, {first: Progress(checkpoint=stored)})
    claims.report_crash(db, first, "killed", 3)
    listen()
    claims.finish(db, second, Success(files=[StagedFile("seed/log.txt", SHA, 3, "text/plain")]))
    first = claim(db).lease
    record(db, first, 4)
    record(db, first, 5, 6, 7)
    claims.record_all(db, {third: Progress([epoch(3)], phase="late", resumed_at=2)})
    listen()
    claims.finish(db, third, FAILED)
    claims.finish(db, first, Success())
    listen()
    finish_all(db, job.id)
    listen()
    return job.id, heard


def key_of(each: Told) -> tuple[str, Any]:
    """What an event tells, but for epochs, which gather differently for each who listens."""
    return each.name, each.data


def test_a_story_is_told_in_its_order(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    record(db, lease, 1, 2)
    record(db, lease, 3)
    claims.finish(db, lease, FAILED)
    [run, _] = jobs.list_runs(db, job.id)
    story = told(db, job.id)
    assert [name for name, _ in story] == ["job", "job", "run", "epochs", "run", "run", "job"]
    assert story[0][1] == {"state": "queued", "reason": None, "version": 1}
    assert story[2][1] == {
        "run": run.id,
        "name": run.name,
        "state": "running",
        "reason": None,
        "attempt": 1,
    }
    epochs = story[3][1]
    assert (epochs["run"], epochs["name"], epochs["attempt"]) == (run.id, run.name, 1)
    assert epochs["columns"][:2] == ("epoch", "train_loss")
    assert epochs["rows"] == [list(row) for row in read_rows(db, run.id)]
    assert [(name, data["state"], data["reason"]) for name, data in story[4:]] == [
        ("run", "failed", "nan_loss"),
        ("run", "cancelled", "dependency_failed"),
        ("job", "failed", "nan_loss"),
    ]


@pytest.mark.parametrize(("rows", "epochs", "stride"), [(4_000, 10_000, 1), (3, 4, 2), (1, 1, 5)])
def test_from_wherever_it_broke_off_the_rest_comes_exactly(
    db: Database, monkeypatch: pytest.MonkeyPatch, rows: int, epochs: int, stride: int
) -> None:
    """After each event of one who listened all the time, and of one who came at the end."""
    monkeypatch.setattr(events, "WINDOW_ROWS", rows)
    monkeypatch.setattr(events, "WINDOW_EPOCHS", epochs)
    job_id, heard = live_through(db)
    runs = [run for run in jobs.list_runs(db, job_id) if run.epochs_done]
    there = {run.id: [list(row) for row in read_rows(db, run.id)] for run in runs}
    assert [len(figures) for figures in there.values()] == [7, 5, 3]
    told_once = [key_of(each) for each in heard if each.name != "epochs"]
    late = list(read_all(db, job_id, Cursor()))
    for listener in (heard, late):
        for place in range(0, len(listener) + 1, stride):
            cursor = listener[place - 1].cursor if place else Cursor()
            parsed = Cursor.parse(str(cursor))
            assert parsed == cursor
            story = [*listener[:place], *read_all(db, job_id, parsed)]
            assert play(story) == there
            assert [key_of(each) for each in story if each.name != "epochs"] == told_once
    check_record(db)


def test_whoever_comes_late_hears_of_many_epochs_at_once(db: Database) -> None:
    job = submit(db, seeds=2)
    leases = [claim(db).lease for _ in range(2)]
    for number in range(1, 31):
        for lease in leases:
            record(db, lease, number)
    for lease in leases:
        claims.finish(db, lease, Success())
    epochs = [data for name, data in told(db, job.id) if name == "epochs"]
    assert [len(data["rows"]) for data in epochs] == [30, 30]


def test_what_is_written_twice_is_told_once(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    record(db, lease, 1, 2)
    record(db, lease, 1, 2)
    record(db, lease, 2, 3)
    epochs = [data["rows"] for name, data in told(db, job.id) if name == "epochs"]
    assert [[row[0] for row in rows] for rows in epochs] == [[1, 2, 3]]
    check_record(db)


def test_a_rewound_run_begins_where_its_checkpoint_is(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    record(db, lease, 1, 2)
    claims.hand_back(db, lease)
    again = claim(db).lease
    record(db, again, 1)
    story = told(db, job.id)
    rewound = [data for name, data in story if name == "rewound"]
    assert rewound == [{"run": lease.run_id, "attempt": 2, "epoch": 0}]
    assert [data["attempt"] for name, data in story if name == "epochs"] == [2]
    claims.finish(db, again, FAILED)
    jobs.retry(db, job.id)
    claim(db)
    assert [name for name in names(db, job.id) if name == "rewound"] == ["rewound"] * 2
    assert "epochs" not in names(db, job.id)
    check_record(db)


def test_files_of_an_earlier_end_are_not_told_of(db: Database) -> None:
    add_all(db, [Blob(sha256=SHA, size_bytes=3)])
    job = submit(db)
    for name in ("first", "second"):
        lease = claim(db).lease
        file = StagedFile(f"seed/{name}.txt", SHA, 3, "text/plain")
        claims.finish(db, lease, Success(files=[file]) if name == "second" else FAILED)
        if name == "first":
            jobs.retry(db, job.id)
    found = [data for kind, data in told(db, job.id) if kind == "artifacts"]
    assert [item["path"] for data in found for item in data["items"]] == ["seed/second.txt"]
    assert found[0]["items"][0] == {
        "path": "seed/second.txt",
        "size_bytes": 3,
        "sha256": SHA,
        "media_type": "text/plain",
    }


def test_what_is_taken_over_is_told_of(db: Database) -> None:
    add_all(db, [Blob(sha256=SHA, size_bytes=3)])
    submit(db, spec={"seeds": [700_000]})
    lease = claim(db)
    record(db, lease.lease, 1, 2)
    file = StagedFile(f"{lease.run.name}/log.txt", SHA, 3, "text/plain")
    claims.finish(db, lease.lease, Success(files=[file]))
    finish_all(db, lease.lease.job_id)
    job = submit(db, spec={"seeds": [700_000]}, reuse=True)
    story = told(db, job.id)
    assert [name for name, _ in story] == ["job", "job", "run", "epochs", "run", "artifacts"]
    assert [row[0] for row in story[3][1]["rows"]] == [1, 2]
    assert story[5][1]["items"][0]["path"] == f"{lease.run.name}/log.txt"
    check_record(db)


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1-", "1-2", "1-2-3-4", "1.5", "9" * 10, " 1", "1-end-end", "\x00"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        Cursor.parse(text)


@pytest.mark.parametrize("text", ["5", "2-100-1", "100-end"])
def test_a_cursor_ahead_of_the_story_is_refused(db: Database, text: str) -> None:
    job = submit(db)
    with pytest.raises(CursorError):
        read_window(db, job.id, Cursor.parse(text))


@pytest.mark.parametrize("text", ["0-1-9", "1-0-1", "0-1-0", "1-1-1"])
def test_a_forged_cursor_harms_nobody(db: Database, text: str) -> None:
    job = submit(db)
    claim(db)
    found = list(read_all(db, job.id, Cursor.parse(text)))
    assert len(found) <= 3


def test_only_its_owner_hears_of_a_job(db: Database) -> None:
    job = submit(db)
    with db.write() as session:
        session.exec(update(Job).values(owner="ada"))
    ada, bob = (View(db, Viewer(owner=name, sees_all=False)) for name in ("ada", "bob"))
    assert len(read_window(ada, job.id, Cursor()).events) == 1
    for view, job_id in ((bob, job.id), (ada, "nothing"), (ada, "0" * 26)):
        with pytest.raises(NotFoundError):
            read_window(view, job_id, Cursor())


def test_a_log_that_tells_of_other_epochs_than_there_are_is_found(db: Database) -> None:
    job = submit(db)
    lease = claim(db).lease
    for number in (1, 2, 3):
        record(db, lease, number)
    check_record(db)
    last = max(each.cursor.base for each in read_all(db, job.id, Cursor()))
    with db.write() as session:
        session.exec(delete(Event).where(col(Event.job_id) == job.id, col(Event.seq) == last))
    with pytest.raises(AssertionError, match="2 epochs were told of, 3 are there"):
        check_record(db)
