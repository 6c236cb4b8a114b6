"""One whole fmx for all tests of a file that train little and spoil nothing."""

from collections.abc import Generator

import httpx
import pytest
from services import Column
from stack import serve


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx.Client]:
    """A client of a server and worker on SQLite and files."""
    folder = tmp_path_factory.mktemp("fmx")
    with serve(Column("embedded", {"FMX_DATA_DIR": str(folder)})) as (_, client):
        yield client
