"""Pictures of the pages for README and the site: python scripts/docs_site/shots.py URL.

The server at that address must have finished the report's q2 with one seed; nothing is changed
there.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from fmx_client import Client

FOLDER = Path(__file__).parents[2] / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE = ViewportSize(width=1280, height=860)
COLOURS = 256
NUM_MODELS, TRIED = 10, "model-4-"
TEST_ROW = "7"  # a coat


def main(url: str) -> None:
    """Takes them all."""
    with Client(url) as client:
        jobs = client.jobs(kind="q2", state="succeeded")
        job = next(job for job in jobs if job.runs.total == NUM_MODELS)
        (model,) = (run.model for run in client.runs(job.id) if run.name.startswith(TRIED))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        take(browser, url, job.id, str(model))
        browser.close()


def take(browser: Browser, url: str, job_id: str, model_id: str) -> None:
    """Each page in a tab of its own."""
    light = browser.new_context(viewport=SIZE, color_scheme="light", base_url=url)
    dark = browser.new_context(viewport=SIZE, color_scheme="dark", base_url=url)
    for context, name in ((light, "job"), (dark, "job-dark")):
        page = context.new_page()
        page.goto(f"/jobs/{job_id}")
        show_curves(page)
        keep(page, name)
    for path, name in (("/jobs", "jobs"), ("/submit?kind=q1", "submit")):
        page = light.new_page()
        page.goto(path)
        keep(page, name)
    page = light.new_page()
    page.goto(f"/models/{model_id}")
    page.get_by_label("Row of the test set").fill(TEST_ROW)
    page.get_by_role("button", name="Take it").click()
    page.locator("#layers img").last.wait_for()
    keep(page, "try-it")


def show_curves(page: Page) -> None:
    """The range in which they differ, and what a pointer at an epoch is told."""
    page.get_by_label("Trim outliers").check()
    page.wait_for_load_state("networkidle")
    page.locator("[data-chart=loss] .u-over").hover(position={"x": 260, "y": 100})
    page.locator(".tip:visible").first.wait_for()


def keep(page: Page, name: str) -> None:
    """What is in the window now."""
    page.wait_for_load_state("networkidle")
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
