"""/docs in a real browser: it shows the operations and asks nothing of other hosts."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from http_service import Service
from playwright.sync_api import ConsoleMessage, Request, sync_playwright
from services import find_binary

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.mark.browser
def test_the_documentation_shows_and_works(shared: Service, tmp_path: Path) -> None:
    chromium = find_binary("chromium")
    hosts: set[str | None] = set()
    complaints: list[str] = []

    def note_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"}:
            hosts.add(parts.hostname)

    def note_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 1600})
        page.on("request", note_request)
        page.on("console", note_message)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{shared.server.url}/docs")
        page.wait_for_selector(".opblock")
        document = shared.get("/openapi.json")
        num_operations = sum(len(item) for item in document["paths"].values())
        assert page.locator(".opblock").count() == num_operations
        assert page.locator(".info .title").inner_text().startswith("fmx")

        page.locator(".opblock-summary", has_text="Submit a job").click()
        block = page.locator(".opblock", has_text="Submit a job")
        block.get_by_role("button", name="Execute").click()
        block.locator(".live-responses-table .response-col_status").last.wait_for()
        status = block.locator(".live-responses-table tbody .response-col_status").first
        assert status.inner_text().startswith("202")
        page.screenshot(path=tmp_path / "docs.png")
        browser.close()

    assert hosts == {"127.0.0.1"}
    assert complaints == []
    assert [job["kind"] for job in shared.get("/v1/jobs")["items"]] == ["q1"]
    assert (tmp_path / "docs.png").stat().st_size > 10_000
