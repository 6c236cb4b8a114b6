"""A real server for the client's tests; a test plays the worker through the record."""

from collections.abc import Generator
from pathlib import Path

import pytest
from command_line import Fmx
from http_service import Service, serve
from services import Column, free_port
from stand_in import LEASE_SECONDS


@pytest.fixture
def service(embedded_column: Column, tmp_path: Path) -> Generator[Service]:
    """A server of this test's own, on SQLite."""
    settings = embedded_column.settings(port=0, lease_seconds=LEASE_SECONDS)
    with serve(settings, tmp_path) as running:
        yield running


@pytest.fixture
def fmx(service: Service) -> Fmx:
    return Fmx(service.server.url)


@pytest.fixture
def nowhere() -> Fmx:
    """A port that nothing listens on."""
    return Fmx(f"http://127.0.0.1:{free_port()}")
