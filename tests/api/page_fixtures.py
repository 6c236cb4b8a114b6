"""What tests of pages need: a server with something on every page, a browser, and a visitor."""

from collections.abc import Generator
from pathlib import Path

import pytest
from http_service import serve
from model_files import ModelFiles
from page_kit import Visit, open_browser, shots_folder, visit
from page_scenes import Scene, furnish
from playwright.sync_api import Browser
from services import Column

SLOW_MS = 20_000  # of a page that waits for a busy machine


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def scene(
    sqlite_template: Path, made: ModelFiles, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    (folder / "fmx.sqlite3").write_bytes(sqlite_template.read_bytes())
    column = Column("embedded", {"FMX_DATA_DIR": str(folder)})
    with serve(column.settings(port=0, lease_seconds=600.0), folder) as service:
        yield furnish(service, made)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    return shots_folder(tmp_path)


@pytest.fixture
def at(browser: Browser, scene: Scene, shots: Path) -> Generator[Visit]:
    """A visitor of the furnished server, whose pages complained about nothing."""
    with visit(browser, scene.service.server.url, shots) as visitor:
        visitor.page.set_default_timeout(SLOW_MS)
        yield visitor
        visitor.assert_no_complaint()
