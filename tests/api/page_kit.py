"""A real browser for the tests of pages, which notes whatever it complains about."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)
from services import ROOT, find_binary

# Tests share two cores with others.
expect.set_options(timeout=20_000)

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
AXE = ROOT / "tests" / "api" / "vendor" / "axe-core" / "axe.min.js"
WIDE = {"width": 1360, "height": 900}
NARROW = {"width": 390, "height": 844}
GRAVE = {"serious", "critical"}


@dataclass
class Visit:
    """A page of the browser on one server, what it complained about, and whom it asked."""

    page: Page
    url: str
    shots: Path
    complaints: list[str] = field(default_factory=list)
    hosts: set[str | None] = field(default_factory=set)

    def watch(self) -> None:
        """Notes errors, warnings and requests from now on."""
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._note_request)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"}:
            self.hosts.add(parts.hostname)

    def go(self, path: str) -> Page:
        """The page at a path, loaded."""
        self.page.goto(self.url + path)
        return self.page

    def shoot(self, name: str) -> None:
        """Keeps a picture of the whole page."""
        self.shots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=True)

    def assert_no_complaint(self) -> None:
        """Nothing went wrong, and nobody else was asked."""
        assert self.complaints == []
        assert self.hosts <= {"127.0.0.1"}


@contextmanager
def open_browser() -> Generator[Browser]:
    """Chromium for a while."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_binary("chromium"), args=ARGUMENTS
        )
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, url: str, shots: Path, **options: Any) -> Generator[Visit]:
    """A visitor with an empty cookie jar; options are those of Playwright's new_context."""
    given: dict[str, Any] = {"viewport": WIDE, **options}
    context: BrowserContext = browser.new_context(**given)
    try:
        visit = Visit(context.new_page(), url, shots)
        visit.watch()
        yield visit
    finally:
        context.close()


def shots_folder(fallback: Path) -> Path:
    """Where pictures of pages are kept: FMX_SCREENSHOTS, or a folder of the test."""
    return Path(os.environ.get("FMX_SCREENSHOTS") or fallback / "screenshots")


def find_violations(page: Page) -> list[str]:
    """What axe-core finds grave on a page, which must have been opened with bypass_csp."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"
    )
    return [
        f"{item['id']}: {node['html'][:200]}"
        for item in found
        if item["impact"] in GRAVE
        for node in item["nodes"]
    ]
