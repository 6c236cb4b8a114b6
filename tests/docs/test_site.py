"""The site of docs/: built strictly, whole, and with nothing that comes from elsewhere."""

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from code_blocks import ROOT
from playwright.sync_api import Browser, Request, sync_playwright

from api.main import create_app
from fmx_ml.experiments import QUESTIONS
from fmx_store.settings import Settings
from scripts.docs_site.links import redirect

LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Builds the site into a folder."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder), *options],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder, "--strict")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@dataclass
class Page(HTMLParser):
    """What a page has and what it points to."""

    ids: set[str] = field(default_factory=set[str])
    links: list[str] = field(default_factory=list[str])
    loaded: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (target := given.get(LOADED.get(tag, ""))) and given.get("rel") != "canonical":
            self.loaded.append(target)


@cache
def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text("utf-8"))
    return page


def pages(site: Path) -> Iterator[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 15
    # The page of what is not found is served at any address: its links begin at the root.
    yield from (path for path in found if path.name != "404.html")


def find_broken(path: Path, links: list[str]) -> list[str]:
    """The links of a page that lead nowhere in the site."""
    broken: list[str] = []
    for link in links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        anchor = unquote(parts.fragment)
        is_there = target.is_file() and (not anchor or anchor in read(target).ids)
        if not is_there and anchor != "__skip":
            broken.append(link)
    return broken


def test_every_link_leads_somewhere(site: Path) -> None:
    broken = {
        str(path.relative_to(site)): found
        for path in pages(site)
        if (found := find_broken(path, [*read(path).links, *read(path).loaded]))
    }
    assert not broken


def test_a_broken_link_is_noticed(site: Path) -> None:
    page = site / "index.html"
    links = ["results.html", "results.html#q1", "#no-such", "gone.html", "results.html#gone"]
    assert find_broken(page, links) == ["#no-such", "gone.html", "results.html#gone"]


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = [target for path in pages(site) for target in read(path).loaded]
    assert loaded
    assert not [target for target in loaded if urlsplit(target).netloc]


def test_each_question_has_its_page_and_figures(site: Path) -> None:
    for question in QUESTIONS:
        page = site / "questions" / f"{question.kind}.html"
        text = page.read_text("utf-8")
        assert question.title.rstrip(".") in text
        assert [target for target in read(page).loaded if f"images/{question.kind}-" in target]
        for name in question.spec.model_fields:
            assert f"<code>{name}</code>" in text


def test_every_operation_and_schema_is_described(site: Path) -> None:
    document = create_app(Settings()).openapi()
    text = (site / "http.html").read_text("utf-8")
    for path, item in document["paths"].items():
        for method in item:
            assert f"<code>{method.upper()} {path}</code>" in text
    ids = read(site / "http.html").ids
    assert {f"schema-{name.lower()}" for name in document["components"]["schemas"]} <= ids


def test_every_setting_and_command_is_described(site: Path) -> None:
    settings = (site / "settings.html").read_text("utf-8")
    for name in Settings.model_fields:
        assert f"<code>FMX_{name.upper()}</code>" in settings
    ids = read(site / "command-line.html").ids
    assert {"fmx-submit", "fmx-doctor", "fmx-compare", "fmx-admin-keys-create"} <= ids


def test_the_first_page_is_the_readme_and_no_text_of_its_own(site: Path) -> None:
    assert not (ROOT / "docs" / "index.md").exists()
    assert "See it work" in (site / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("page", "text", "said"),
    [
        ("index.md", "[r](docs/results.md#q1)", "[r](results.md#q1)"),
        ("operations.md", "[`s`](../fmx_store/settings.py)", "[`s`](settings.md)"),
        ("questions/q1.md", "![p](../images/a.png)", "![p](../images/a.png)"),
        ("operations.md", "[c](../CONTRIBUTING.md)", "[c](contributing.md)"),
        ("operations.md", "[the worker](../worker/app.py)", "the worker"),
        ("index.md", "[x](https://example.org/a)", "[x](https://example.org/a)"),
        ("index.md", "```\n[r](docs/results.md)\n```", "```\n[r](docs/results.md)\n```"),
    ],
)
def test_links_are_set_for_the_site(page: str, text: str, said: str) -> None:
    assert redirect(text, page) == said


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        yield started
        started.close()


@pytest.mark.browser
def test_a_browser_reads_it_from_the_disk_and_asks_nobody(site: Path, browser: Browser) -> None:
    asked: list[str] = []
    errors: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            asked.append(request.url)

    context = browser.new_context()
    page = context.new_page()
    page.on("request", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in ("index.html", "http.html", "questions/q1.html"):
        page.goto((site / name).as_uri())
        page.wait_for_load_state("networkidle")
    assert page.locator("article img").count() >= 3
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    context.close()
    assert not asked
    assert not errors
