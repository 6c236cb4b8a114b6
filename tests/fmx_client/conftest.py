"""A real server for the client's tests; a test plays the worker through the record."""

from collections.abc import Generator
from pathlib import Path

import pytest
from http_service import Service, serve
from services import Column
from stand_in import LEASE_SECONDS


@pytest.fixture
def service(embedded_column: Column, tmp_path: Path) -> Generator[Service]:
    """A server of this test's own, on SQLite."""
    settings = embedded_column.settings(port=0, lease_seconds=LEASE_SECONDS)
    with serve(settings, tmp_path) as running:
        yield running
