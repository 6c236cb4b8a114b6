"""The database: SQLite in the data folder, or PostgreSQL. One way to read, one way to write."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, make_url
from sqlmodel import Session, create_engine

BUSY_TIMEOUT_SECONDS = 30.0  # SQLite: wait for another writer

Ring = tuple[str, str]
"""A run that has become due, and the queue of workers that can do it."""


class Database:
    """Reads and writes the record, each in a transaction of its own.

    A session's `info["rings"]` collects the runs that its transaction made due; they are handed to
    `on_commit` after the commit, and forgotten on a rollback.
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

    @contextmanager
    def read(self) -> Generator[Session]:
        """A session to read with; what it loads stays readable afterwards."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Generator[Session]:
        """A session that commits at the end, or leaves nothing behind."""
        with Session(self._writer, expire_on_commit=False) as session:
            session.info["rings"] = []
            yield session
            session.commit()
            rings = session.info["rings"]
        if rings and self.on_commit:
            self.on_commit(rings)

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


def _create_engine(url: str, *, is_sqlite: bool) -> Engine:
    dumps = partial(json.dumps, allow_nan=False)
    if not is_sqlite:
        return create_engine(
            url,
            json_serializer=dumps,
            pool_pre_ping=True,
            pool_timeout=5,
            connect_args={"connect_timeout": 3, "options": "-c timezone=utc"},
        )
    engine = create_engine(
        url,
        json_serializer=dumps,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("fmx_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
