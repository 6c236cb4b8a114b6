"""Who looks into the record, and what of it they see: the one place where owners are compared.

Everything belongs to a job, and a job to the owner of the key that submitted it. A function of the
record takes the whole of it, as workers and maintenance do, or a `View`; what a View does not show
is for it as if it were not there.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, false
from sqlmodel import Session

from fmx_store.database import Database


@dataclass(frozen=True)
class Viewer:
    """Who asks; `owner` is whose the jobs are that they submit, None where keys are off.

    Whoever has no owner and does not see all sees nothing, not even what has no owner.
    """

    owner: str | None
    sees_all: bool

    def sees(self, owner: str | None) -> bool:
        """Whether what an owner has is shown to them."""
        return self.sees_all or (self.owner is not None and self.owner == owner)


EVERYONE = Viewer(owner=None, sees_all=True)
"""Whoever asks where keys are off."""


class View:
    """The record as a viewer may see it; opened, read and written as a Database is."""

    def __init__(self, db: Database, viewer: Viewer) -> None:
        """Opens nothing."""
        self._db, self.viewer = db, viewer

    @property
    def is_sqlite(self) -> bool:
        """Which of the two databases it is."""
        return self._db.is_sqlite

    @contextmanager
    def read(self) -> Generator[Session]:
        """As Database.read."""
        with self._db.read() as session:
            yield session

    @contextmanager
    def look(self) -> Generator[Connection]:
        """As Database.look."""
        with self._db.look() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Session]:
        """As Database.write."""
        with self._db.write() as session:
            yield session


Record: TypeAlias = Database | View
"""All of the record, or what a viewer sees of it."""


def viewer_of(record: Record) -> Viewer:
    """Who looks; everyone, where it is the whole record."""
    return record.viewer if isinstance(record, View) else EVERYONE


def shows(record: Record, owner: str | None) -> bool:
    """Whether the record shows what an owner has."""
    return viewer_of(record).sees(owner)


def only_seen(record: Record, owner: Any) -> tuple[ColumnElement[bool], ...]:
    """The conditions of a query for what the record shows; `owner` is the column with the owners.

    Not even one, where it shows everything: the database plans such a query by other indexes.
    """
    viewer = viewer_of(record)
    if viewer.sees_all:
        return ()
    return (false() if viewer.owner is None else owner == viewer.owner,)
