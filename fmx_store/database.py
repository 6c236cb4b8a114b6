"""The database: SQLite in the data folder, or PostgreSQL. One way to read, one way to write."""

import json
import logging
import os
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import (
    InterfaceError,
    OperationalError,
    TimeoutError,  # noqa: A004 - the pool raises it too, for the same reason
)
from sqlmodel import Session, create_engine

BUSY_TIMEOUT_SECONDS = 30.0  # SQLite: wait for a writer of another process
FORK_SECONDS = 5.0  # SQLite: wait for the sessions of other threads before a fork

# PostgreSQL: bounds, so that a process that froze inside a transaction stops nobody for long.
CONNECT_TIMEOUT_SECONDS = 3
POOL_TIMEOUT_SECONDS = 5
LOCK_TIMEOUT_SECONDS = 15
IDLE_TRANSACTION_SECONDS = 10
UNANSWERED_SECONDS = 10  # bytes that the other side does not acknowledge

OUTAGES = (OperationalError, InterfaceError, TimeoutError)
"""What is raised where a database is away, locked, no longer the one that may be written, or has
ended a transaction in which nothing happened for too long."""

_PASSING_SQLSTATES = frozenset({"25006", "25P03", "25P04"})
"""A database that only reads, a transaction that stood still or took too long.

psycopg calls these errors internal, as it calls faults of ours.
"""

_log = logging.getLogger(__name__)

Ring = tuple[str, str]
"""A run that has become due, and the queue of workers that can do it."""


class Database:
    """Reads and writes the record, each in a transaction of its own.

    A session's `info["rings"]` collects the runs that its transaction made due; they are handed to
    `on_commit` after the commit, and forgotten on a rollback. Threads may share a Database, and a
    process that forks may go on with it on both sides.
    """

    def __init__(self, url: str, on_commit: Callable[[list[Ring]], None] | None = None) -> None:
        """Opens nothing yet; SQLite's folder is made."""
        self.url = url
        self.on_commit = on_commit
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _create_engine(url, is_sqlite=self.is_sqlite)
        self._writer = self.engine.execution_options(fmx_write=True)
        self._turn = threading.Lock()
        self._sessions = _Sessions()
        _databases.add(self)

    @contextmanager
    def read(self) -> Generator[Session]:
        """A session to read with; what it loads stays readable afterwards."""
        with self._sessions.one(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def look(self) -> Generator[Connection]:
        """A connection to read with, for plain rows: a session costs more than a small query."""
        with self._sessions.one(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Session]:
        """A session that commits at the end, or leaves nothing behind.

        What `on_commit` raises is logged and goes no further: the write has happened.
        """
        with (
            self._writing(),
            self._sessions.one(),
            Session(self._writer, expire_on_commit=False) as session,
        ):
            session.info["rings"] = []
            yield session
            session.commit()
            rings: list[Ring] = list(dict.fromkeys(session.info["rings"]))
        if rings and self.on_commit:
            try:
                self.on_commit(rings)
            except Exception:  # noqa: BLE001 - the caller's, of any kind
                _log.exception("%d run(s) were recorded and could not be announced", len(rings))

    @contextmanager
    def _writing(self) -> Generator[None]:
        """SQLite has one writer at a time: threads queue up here, processes at its busy timeout."""
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise TimeoutError(f"another thread has been writing for {BUSY_TIMEOUT_SECONDS:g} s")
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    def before_fork(self) -> None:
        """Closes SQLite's connections.

        What a process knows of its locks is inherited by a fork, and the locks are not: the child
        of a process that has a file open takes itself for the holder of locks that it has not, or
        waits for one that nobody has.
        """
        if self.is_sqlite:
            if self._sessions.stop(FORK_SECONDS):
                self.engine.dispose()
            else:
                _log.warning("a process forks while a session with %s is open", self.url)

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        self._sessions.go_on()

    def after_fork_in_child(self) -> None:
        """Leaves the connections alone that the parent has open, and opens new ones."""
        _inherited.append(self.engine.pool)
        self.engine.dispose(close=False)
        self._turn = threading.Lock()
        self._sessions = _Sessions()


class _Sessions:
    """Counts the open sessions, and keeps new ones waiting while the process forks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_open = 0
        self._is_stopped = False

    @contextmanager
    def one(self) -> Generator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_stopped)
            self._num_open += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_open -= 1
                self._changed.notify_all()

    def stop(self, timeout_seconds: float) -> bool:
        """Whether none is open any more, and none will be."""
        with self._changed:
            self._is_stopped = True
            return self._changed.wait_for(lambda: self._num_open == 0, timeout_seconds)

    def go_on(self) -> None:
        with self._changed:
            self._is_stopped = False
            self._changed.notify_all()


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[Any] = []  # kept, since closing them in a child would disturb the parent's


def _at_fork(act: Callable[[Database], None]) -> Callable[[], None]:
    def act_on_all() -> None:
        for database in tuple(_databases):
            act(database)

    return act_on_all


os.register_at_fork(
    before=_at_fork(Database.before_fork),
    after_in_parent=_at_fork(Database.after_fork_in_parent),
    after_in_child=_at_fork(Database.after_fork_in_child),
)


def _create_engine(url: str, *, is_sqlite: bool) -> Engine:
    dumps = partial(json.dumps, allow_nan=False)
    if not is_sqlite:
        engine = create_engine(
            url,
            json_serializer=dumps,
            pool_pre_ping=True,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            connect_args=_postgres_arguments(url),
        )
        event.listen(engine, "handle_error", _tell_outage)
        return engine
    engine = create_engine(
        url,
        json_serializer=dumps,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgres_arguments(url: str) -> dict[str, Any]:
    """Arguments of a connection; options that the URL itself gives come last, so they win."""
    options = {
        "timezone": "utc",
        "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS}s",
    }
    given = make_url(url).query.get("options", ())
    own = (given,) if isinstance(given, str) else given
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": UNANSWERED_SECONDS,
        "tcp_user_timeout": 1000 * UNANSWERED_SECONDS,
        "options": " ".join([*(f"-c {name}={value}" for name, value in options.items()), *own]),
    }


def _tell_outage(context: ExceptionContext) -> None:
    """Raises what passes by itself as the OperationalError that it is."""
    error = context.original_exception
    if getattr(error, "sqlstate", None) in _PASSING_SQLSTATES:
        raise OperationalError(context.statement, context.parameters, error)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("fmx_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
