"""The record on each database, and a store of files."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from fmx_store.blobs import FolderStore
from fmx_store.database import Database, Ring
from fmx_store.settings import Settings


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database of this test's own, of each kind in turn."""
    if request.param == "postgresql":
        return Settings(database_url=request.getfixturevalue("postgres_url")).database
    folder = tmp_path / "record"
    folder.mkdir()
    shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "fmx.sqlite3")
    return Settings(data_dir=folder).database


@pytest.fixture
def rings() -> list[Ring]:
    """What the record has announced."""
    return []


@pytest.fixture
def db(database_url: str, rings: list[Ring]) -> Generator[Database]:
    """The record, open."""
    database = Database(database_url, on_commit=rings.extend)
    yield database
    database.close()


@pytest.fixture
def blobs(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(tmp_path / "blobs")
