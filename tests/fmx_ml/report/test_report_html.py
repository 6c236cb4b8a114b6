import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from pypdf import PdfReader
from report_cases import FIGURE, FILES, make_job, make_png, make_results
from services import find_binary

from fmx_ml.report import compose, render_html
from fmx_ml.results import Figure

_VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """What a page consists of; raises AssertionError where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute))]


JOBS = [
    make_job(name="<script>alert(1)</script> & *co*"),
    make_job(make_results("q2", preset="quick")),
]


def test_the_page_is_well_formed_and_its_links_lead_somewhere() -> None:
    page = Page(render_html(compose(JOBS)))
    ids = Counter(page.values("id"))
    assert [name for name, number in ids.items() if number > 1] == []
    assert {link.removeprefix("#") for link in page.values("href")} <= ids.keys()
    assert set(page.values("aria-labelledby")) <= ids.keys()
    assert "erratum-11" in ids


def test_headings_stand_in_order() -> None:
    levels = [int(tag[1]) for tag, _ in Page(render_html(compose(JOBS))).tags if tag[0] == "h"
              and tag[1:].isdigit()]  # fmt: skip
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    text = render_html(compose(JOBS))
    page = Page(text)
    assert not any(tag in {"script", "link", "iframe"} for tag, _ in page.tags)
    assert all(source.startswith("data:image/") for source in page.values("src"))
    assert all(link.startswith("#") for link in page.values("href"))
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_every_table_has_scopes_and_every_picture_a_text() -> None:
    page = Page(render_html(compose(JOBS)))
    heads = [attributes for tag, attributes in page.tags if tag == "th"]
    assert heads
    assert all(head.get("scope") in {"col", "row", "rowgroup"} for head in heads)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["Training and validation loss"] * 2


def test_what_users_wrote_is_shown_and_not_obeyed() -> None:
    text = render_html(compose(JOBS))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; *co*" in text


def test_a_verdict_is_a_word_a_symbol_and_a_colour() -> None:
    text = render_html(compose([make_job()]))
    for name, symbol, word in (("inside", "✓", "inside"), ("outside", "✗", "outside"),
                               ("not_comparable", "○", "not compared")):  # fmt: skip
        span = (
            f'<span class="verdict {name}"><span aria-hidden="true">{symbol}</span> {word}</span>'
        )
        assert span in text


def test_the_page_holds_figures_tables_errata_and_specs() -> None:
    text = render_html(compose([make_job()]))
    assert "<b>Figure 1</b> · Training and validation loss" in text
    assert "0.9812 ± 0.0005" in text
    assert "It keeps a reference." in text
    assert "x 32 = 0.69." in text
    assert "&#34;max_epochs&#34;: 450" in text


def test_a_missing_picture_is_named_in_its_place() -> None:
    text = render_html(compose([make_job(files={})]))
    assert (
        '<p class="missing">figure-1-loss.svg is missing; figure-1-loss.png is missing</p>' in text
    )


def test_a_page_without_smoke_runs_has_no_banner() -> None:
    assert 'class="banner"' not in render_html(compose([make_job()]))
    assert 'class="banner"' in render_html(compose(JOBS))


def test_rows_that_belong_together_share_cells() -> None:
    columns = ["model", "whose", "loss"]
    rows = [[1, "published", 0.5], [1, "ours", 0.6], [2, "published", 0.7], [2, "ours", 0.8]]
    table = make_results().tables[0].model_copy(update={"columns": columns, "rows": rows})
    page = Page(render_html(compose([make_job(make_results(tables=[table]))])))
    assert page.values("rowspan") == ["2", "2"]


@pytest.mark.browser
def test_a_browser_shows_it_and_prints_the_smoke_run_on_every_page(tmp_path: Path) -> None:
    names = [f"picture-{i}.png" for i in range(6)]
    figures = [FIGURE, Figure(number="4", title="Six", artifacts=names)]
    results = make_results(preset="quick", figures=figures)
    document = compose([make_job(results, {**FILES, **dict.fromkeys(names, make_png(640, 320))})])
    path = tmp_path / "report.html"
    path.write_text(render_html(document), encoding="utf-8")
    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_binary("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for width in (400, 1500):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate("[...document.images].forEach(image => { image.loading = 'eager' })")
            page.wait_for_function("[...document.images].every(image => image.naturalWidth > 0)")
        page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
        browser.close()
    assert [url for url in asked if not re.match(r"data:|file:", url)] == []
    assert complaints == []
    pages = [page.extract_text() for page in PdfReader(tmp_path / "report.pdf").pages]
    assert len(pages) > 3
    assert all("Smoke run: quick preset" in text for text in pages)
