"""Pages in a real browser: usable by all, in both colours, narrow, without a script, with keys."""

import re
from pathlib import Path

import pytest
from http_service import Service, serve
from key_kit import make_key
from page_kit import NARROW, WIDE, Visit, find_violations, visit
from page_scenes import Scene
from playwright.sync_api import Browser, Page, expect
from services import Column

from fmx_store import keys
from fmx_store.keys import Scope

pytestmark = pytest.mark.browser


def name_of(scene: Scene, path: str) -> str:
    """A file's name for a page."""
    return f"{scene.paths.index(path):02}-{re.sub(r'[^a-z0-9]+', '-', path).strip('-')}"


def wait_for_curves(page: Page) -> None:
    """Until the curves of a page are drawn, if it has some."""
    if page.locator("#curve-area").count():
        page.locator("#curve-area.filled, .waiting:has-text('No epoch')").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_usable_by_all(
    browser: Browser, scene: Scene, shots: Path, scheme: str
) -> None:
    options = {"color_scheme": scheme, "bypass_csp": True}  # axe-core is no script of the pages
    with visit(browser, scene.service.server.url, shots, **options) as visitor:
        for path in scene.paths:
            page = visitor.go(path)
            wait_for_curves(page)
            visitor.shoot(f"{name_of(scene, path)}-{scheme}")
            assert find_violations(page) == [], path
        visitor.assert_no_complaint()


def test_no_page_is_wider_than_a_telephone(browser: Browser, scene: Scene, shots: Path) -> None:
    with visit(browser, scene.service.server.url, shots, viewport=NARROW) as visitor:
        for path in scene.paths:
            page = visitor.go(path)
            wait_for_curves(page)
            visitor.shoot(f"{name_of(scene, path)}-narrow")
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
        visitor.assert_no_complaint()


def test_pages_read_without_a_script(browser: Browser, scene: Scene, shots: Path) -> None:
    with visit(browser, scene.service.server.url, shots, java_script_enabled=False) as visitor:
        page = visitor.go("/jobs")
        page.get_by_role("link", name="finished").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("finished")
        expect(page.get_by_text("q1.accuracy.test")).to_be_visible()
        for title in ("Validation loss over 5 epochs", "Validation accuracy over 5 epochs"):
            expect(page.get_by_role("img", name=title)).to_be_visible()
        expect(page.locator("#curve-tools")).to_be_hidden()
        page.get_by_role("link", name="Jobs", exact=True).first.click()
        page.get_by_label("Kind").select_option("q2")
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_text("No job fits these filters")).to_be_visible()
        visitor.go("/submit")
        expect(page.locator("main > noscript p")).to_be_visible()
        visitor.go(f"/models/{scene.model}")
        expect(page.locator("main noscript p")).to_be_visible()


def test_a_model_is_promoted_and_its_alias_removed(at: Visit, scene: Scene) -> None:
    page = at.go(f"/models/{scene.model}")
    named = page.locator(".aliases li")
    expect(named).to_have_text(["There is none yet."])
    page.get_by_label("Call this model").fill("a name with spaces")
    page.get_by_role("button", name="Promote").click()
    expect(page.locator("#aliases [role=alert]")).to_be_visible()
    assert "422" in at.complaints.pop(), "as a browser tells of it"
    page.get_by_label("Call this model").fill("production")
    page.get_by_role("button", name="Promote").click()
    expect(named).to_contain_text([f"production → {scene.model}"])
    expect(page.locator("#aliases [role=alert]")).to_be_hidden()
    at.go("/models")
    expect(named.get_by_role("link")).to_have_attribute("href", f"/models/{scene.model}")
    at.go(f"/models/{scene.model}")
    page.get_by_role("button", name="Remove the alias production").click()
    expect(named).to_have_text(["There is none yet."])


def test_the_colours_are_chosen_and_kept(at: Visit) -> None:
    page = at.go("/jobs")
    at.page.emulate_media(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name=re.compile("Colours"))
    button.click()
    button.click()
    expect(button).to_have_attribute("aria-label", "Colours: dark")
    assert page.evaluate(ground) != light
    at.go("/models")
    expect(button).to_have_attribute("aria-label", "Colours: dark")
    button.click()
    assert page.evaluate(ground) == light


def test_with_keys_one_signs_in_works_and_signs_out(
    browser: Browser, embedded_column: Column, tmp_path: Path, shots: Path
) -> None:
    settings = embedded_column.settings(port=0, keys="required", lease_seconds=600.0)
    with (
        serve(settings, tmp_path) as service,
        visit(browser, service.server.url, shots, viewport=WIDE, bypass_csp=True) as visitor,
    ):
        page = visitor.go("/workers")
        assert find_violations(page) == []
        visitor.shoot("login")
        page.get_by_label("Key").fill(make_key(service))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
        assert page.evaluate("document.cookie") == ""
        visitor.go("/submit")
        with page.expect_request("**/events"):
            page.get_by_role("button", name="Submit the job").click()
        expect(page.locator("#summary").get_by_text("queued").first).to_be_visible()
        claimed = service.claim()
        expect(page.locator("#summary").get_by_text("running").first).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#summary").get_by_text("cancelling").first).to_be_visible()
        service.fail(claimed)
        expect(page.locator("#summary").get_by_text("cancelled").first).to_be_visible()
        page.get_by_text("Delete…").click()
        page.get_by_role("button", name="Delete this job").click()
        expect(page.get_by_text("Nothing has been submitted yet")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        visitor.go("/jobs")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        visitor.assert_no_complaint()
        lose_the_key(service, page)


def lose_the_key(service: Service, page: Page) -> None:
    """Whoever looks at a list while their key is revoked is led to the form, and back."""
    row, key = keys.create(service.db, "bob", {Scope.READ})
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    keys.revoke(service.db, row.id)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.locator("input[name=next]")).to_have_value("/jobs")
