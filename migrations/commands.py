"""Alembic's commands over one locked connection, with nothing to configure but the database's URL.

A whole upgrade or downgrade is one transaction, and any number of processes may start one at the
same time: the first does the work, the others wait for it and find nothing left to do.
"""

import argparse
import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, make_url, text

from fmx_store.revision import VERSION_TABLE, read_revision

MIGRATION_LOCK = 0x666D786D  # PostgreSQL's advisory lock that makes migrations take turns: "fmxm"
WAIT_SECONDS = 120.0  # SQLite: for another process that migrates
CONNECT_SECONDS = 10
MAX_REVISION = 32  # characters, the width of Alembic's column

_FOLDER = Path(__file__).resolve().parent


def upgrade(url: str, revision: str = "head") -> str | None:
    """Brings a database up to a revision; answers the one it has then."""
    with _connect(url) as connection:
        command.upgrade(make_config(connection), revision)
        return read_revision(connection)


def downgrade(url: str, revision: str) -> str | None:
    """Brings a database back to a revision, `base` for none; answers the one it has then."""
    with _connect(url) as connection:
        command.downgrade(make_config(connection), revision)
        return read_revision(connection)


def check(url: str) -> None:
    """Raises alembic.util.CommandError where a database is not as fmx_store.tables says."""
    with _connect(url) as connection:
        command.check(make_config(connection))


def add_revision(url: str, slug: str, date: str) -> Path:
    """Writes the revision that leads from a migrated database to fmx_store.tables."""
    name = f"{date}_{slug}"
    if len(name) > MAX_REVISION:
        raise ValueError(f"{name!r} is longer than {MAX_REVISION} characters")
    with _connect(url) as connection:
        script = command.revision(
            make_config(connection), slug.replace("_", " "), autogenerate=True, rev_id=name
        )
    if script is None or isinstance(script, list):
        raise TypeError("one revision was asked for")
    return Path(script.path)


def make_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration; env.py finds the connection in its attributes."""
    config = Config(stdout=io.StringIO(), cmd_opts=argparse.Namespace(quiet=True))
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s")
    config.set_main_option("version_table", VERSION_TABLE)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connect(url: str) -> Generator[Connection]:
    engine = _create_engine(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                lock = text("SELECT pg_advisory_xact_lock(:key)")
                connection.execute(lock, {"key": MIGRATION_LOCK})
            yield connection
            if engine.dialect.name == "sqlite":
                _check_references(connection)
    finally:
        engine.dispose()


def _create_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
        return create_engine(url, poolclass=NullPool, connect_args=arguments)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": WAIT_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    connection.execute("PRAGMA journal_mode=WAL")
    # A table is changed by copying it and dropping the old one, which must not drop what refers
    # to it; references are checked before the commit instead.
    connection.execute("PRAGMA foreign_keys=OFF")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_references(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise RuntimeError(f"the migration would leave a row that refers to nothing: {broken}")
