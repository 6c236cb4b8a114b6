"""Pages of jobs that a real worker trains, from the form to the picture that a model is shown."""

import re
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from page_kit import Visit, open_browser, shots_folder, visit
from playwright.sync_api import Page, expect
from services import Column
from stack import serve, submit, wait_for_end

pytestmark = pytest.mark.browser

TRAINING_MS = 120_000  # for a training of seconds, on a machine that does other things too
CONFIGURATION = {"model": {"conv_layers": 1, "channels": [4]}, "batch_size": 500}
SMALL = {"dataset": "synthetic", "max_epochs": 2, "fraction_percent": 20}


@pytest.fixture
def client(embedded_column: Column) -> Generator[httpx.Client]:
    """A client of a real server with a real worker."""
    with serve(embedded_column) as (_, client):
        yield client


@pytest.fixture
def visitor(client: httpx.Client, tmp_path: Path) -> Generator[Visit]:
    url = str(client.base_url).rstrip("/")
    with open_browser() as browser, visit(browser, url, shots_folder(tmp_path)) as visitor:
        yield visitor
        visitor.assert_no_complaint()


def test_two_real_jobs_are_submitted_watched_compared_and_tried(
    client: httpx.Client, visitor: Visit
) -> None:
    first = submit_by_form(visitor)
    watch(visitor, first)
    models = [CONFIGURATION, {**CONFIGURATION, "batch_size": 250}]
    second = submit(client, kind="q2", preset="quick", spec={**SMALL, "models": models})
    assert wait_for_end(client, second)["state"] == "succeeded"
    compare(visitor, first, second)
    try_it(visitor, second)


def submit_by_form(visitor: Visit) -> str:
    """Fills the form in for a small q1; the job's id."""
    page = visitor.go("/submit?kind=q1")
    page.get_by_label("quick").check()
    page.locator("#at-spec-dataset").select_option("synthetic")
    page.locator("#at-spec-max_epochs").fill("3")
    page.locator("#at-spec-fraction_percent").fill("20")
    expect(page.get_by_text("1 run, 3 epochs at most")).to_be_visible()
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url(re.compile(r"/jobs/\w{26}$"))
    return page.url.rpartition("/")[2]


def watch(visitor: Visit, job_id: str) -> None:
    """The page that the form led to shows all that comes, and is never loaded again."""
    page = visitor.page
    summary = page.locator("#summary")
    expect(summary.get_by_text("succeeded").first).to_be_visible(timeout=TRAINING_MS)
    expect(page.get_by_text("q1.accuracy.test", exact=True)).to_be_visible()
    expect(page.locator("#log-text")).to_contain_text("INFO epoch 3: train_loss")
    plot = page.locator("[data-chart=accuracy] .plot")
    expect(plot).to_have_attribute("aria-label", re.compile("1 curve; best at the end: seed-0"))
    pictures = page.locator("#figures img")
    expect(pictures).to_have_count(4)
    for i in range(4):
        pictures.nth(i).scroll_into_view_if_needed()
        expect(pictures.nth(i)).to_have_js_property("complete", value=True)
        assert pictures.nth(i).evaluate("(image) => image.naturalWidth") > 300
    page.get_by_text("Manifest: what the results were made from").click()
    expect(page.get_by_label("Manifest", exact=True)).to_contain_text('"torch"')
    assert page.url.endswith(job_id)
    visitor.shoot("real-q1")


def compare(visitor: Visit, first: str, second: str) -> None:
    """What the two differ in stands side by side."""
    page = visitor.go(f"/compare?job={first}&job={second}")
    row = page.get_by_role("row", name=re.compile(r"^max_epochs"))
    expect(row.get_by_role("cell")).to_have_text(["3", "2"])
    expect(row.locator(".changed")).to_have_text("2")
    plot = page.locator("[data-chart=loss] .plot")
    expect(plot).to_have_attribute("aria-label", re.compile("3 curves"))
    visitor.shoot("real-compare")


def try_it(visitor: Visit, job_id: str) -> None:
    """A row of the test set is shown to a model, from the list of models on."""
    page: Page = visitor.go(f"/models?job={job_id}")
    page.get_by_role("link", name="model-1-seed-0").click()
    page.get_by_role("button", name="Take it").click()
    expect(page.locator("#about")).to_contain_text("Row 0: ")
    expect(page.get_by_alt_text("The 4 feature maps of conv1")).to_be_visible()
    visitor.shoot("real-model")
