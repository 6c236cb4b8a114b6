"""Processes that fork while they have the record open."""

import os
import threading
import time
from collections.abc import Callable

from record_kit import claim, epoch, submit, together

from fmx_store import claims, jobs
from fmx_store.database import Database


def test_a_fork_has_connections_of_its_own(db: Database) -> None:
    """Parent and child both go on with what was open, and read what the other wrote."""
    submit(db)
    lease = claim(db).lease
    claims.beat(db, lease)
    ours = session_of(db)

    def beat_over_another() -> None:
        assert session_of(db) != ours
        for _ in range(5):
            claims.beat(db, lease)

    in_child = fork(beat_over_another)
    assert claims.beat(db, lease) == "running"
    assert join(in_child) == 0
    assert claims.active(db)[0].beat == 7


def test_a_fork_while_other_threads_write_is_safe(db: Database) -> None:
    """Such a child neither waits for a lock that nobody has nor thinks it has one itself."""
    submit(db, seeds=2)
    first, second = claim(db).lease, claim(db).lease
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            claims.record_progress(db, first, [epoch(1)])
            jobs.require_job(db, first.job_id)

    def fork_often() -> list[int]:
        try:
            children = [fork(lambda: [claims.beat(db, second) for _ in range(5)]) for _ in range(4)]
            return [join(child) for child in children]
        finally:
            stop.set()

    assert together(write, write, fork_often) == [None, None, [0] * 4]
    assert {h.beat for h in claims.active(db) if h.run_id == second.run_id} == {20}


def test_what_a_child_wrote_outlives_a_parent_that_closes(database_url: str) -> None:
    """SQLite removes its log when it thinks that nobody else has the file open."""
    db = Database(database_url)
    submit(db)
    lease = claim(db).lease
    read, write = os.pipe()

    def beat_after_the_close() -> None:
        claims.beat(db, lease)
        os.write(write, b"1")
        time.sleep(0.3)
        for _ in range(5):
            claims.beat(db, lease)

    child = fork(beat_after_the_close)
    os.read(read, 1)
    db.close()
    assert join(child) == 0
    assert claims.active(db)[0].beat == 6
    db.close()


def session_of(db: Database) -> tuple[int, object]:
    """The process, and what PostgreSQL calls the connection."""
    if db.is_sqlite:
        return os.getpid(), None
    with db.read() as session:
        return 0, session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar()


def fork(act: Callable[[], object]) -> int:
    """A child process that does this and nothing else; answers its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        act()
        status = 0
    finally:
        os._exit(status)


def join(child: int) -> int:
    """The exit status of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
