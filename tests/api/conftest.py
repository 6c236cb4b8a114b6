"""The server under test."""

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_service import Service, serve
from model_files import made, model_id, other, predict_path
from page_fixtures import at, browser, scene, shots
from services import Column

from fmx_store.settings import Settings

__all__ = [
    "at",
    "browser",
    "made",
    "model_id",
    "other",
    "predict_path",
    "scene",
    "shots",
]

# No test here is about lost workers, so no run that a test holds is taken from it.
LEASE_SECONDS = 600.0


@pytest.fixture
def settings_values() -> dict[str, Any]:
    """Settings of this test's server; a module or class may put its own in place."""
    return {}


@pytest.fixture
def service(
    embedded_column: Column, tmp_path: Path, settings_values: dict[str, Any]
) -> Generator[Service]:
    """A server of this test's own, on SQLite."""
    settings = embedded_column.settings(port=0, lease_seconds=LEASE_SECONDS, **settings_values)
    with serve(settings, tmp_path) as service:
        yield service


@pytest.fixture
def column_service(column: Column, tmp_path: Path) -> Generator[Service]:
    """A server on each column in turn."""
    settings = column.settings(port=0, lease_seconds=LEASE_SECONDS)
    with serve(settings, tmp_path) as service:
        yield service


@pytest.fixture
def client(service: Service) -> httpx.Client:
    """A client of this test's server."""
    return service.client


@pytest.fixture(scope="module")
def shared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """A server on SQLite for all tests of a module that do not disturb each other."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copyfile(sqlite_template, folder / "fmx.sqlite3")
    settings = Settings(data_dir=folder, port=0, lease_seconds=LEASE_SECONDS)
    with serve(settings, folder) as service:
        yield service


@pytest.fixture(scope="module", params=["predict", "feature-maps"])
def pictures_path(request: pytest.FixtureRequest, model_id: str) -> str:
    """Each path that takes pictures."""
    return f"/v1/models/{model_id}/{request.param}"
