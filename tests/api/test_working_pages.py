"""Pages that are worked with: live jobs, curves, the form, a model that is tried."""

import json
import re
from pathlib import Path

import pytest
from http_service import Service, epoch
from model_files import ModelFiles
from page_kit import Visit, visit
from page_scenes import FULL_RESULTS, Scene, picture
from playwright.sync_api import Browser, Locator, Page, expect

from fmx_store import claims
from fmx_store.claims import Claim

pytestmark = pytest.mark.browser


class TestLive:
    """A job that a worker trains while somebody looks."""

    def test_the_list_shows_what_changes(self, at: Visit, scene: Scene) -> None:
        page = at.go("/jobs?tag=list")
        expect(page.get_by_text("No job fits these filters")).to_be_visible()
        job_id = scene.service.submit(name="newcomer", tags=["list"], priority=9)["id"]
        row = page.locator(f"#job-{job_id}")
        expect(row.get_by_text("queued")).to_be_visible()
        claim = scene.service.claim()
        expect(row.get_by_text("running")).to_be_visible()
        claims.record_progress(scene.service.db, claim.lease, [epoch(1)], phase="training")
        expect(row.get_by_text("1 / 450 epochs")).to_be_visible()
        scene.service.fail(claim)
        expect(row.get_by_text("failed")).to_be_visible()

    def test_a_job_grows_and_ends_before_ones_eyes(
        self, at: Visit, scene: Scene, made: ModelFiles
    ) -> None:
        service = scene.service
        job_id = service.submit(name="growing", priority=9)["id"]
        page = at.go(f"/jobs/{job_id}")
        expect(page.get_by_text("No epoch has ended yet.")).to_be_visible()
        claim = service.claim()
        assert claim.lease.job_id == job_id
        claims.record_progress(service.db, claim.lease, [epoch(1), epoch(2)], phase="training")
        expect(page.locator("#curve-area.filled")).to_be_visible()
        plot = page.locator("[data-chart=loss] .plot")
        told = re.compile(r"loss over epochs, 1 curve; best at the end: seed-0, 1\.00$")
        expect(plot).to_have_attribute("aria-label", told)
        claims.record_progress(service.db, claim.lease, [epoch(4, val_loss=0.25)])
        expect(plot).to_have_attribute("aria-label", re.compile(r"seed-0, 0\.250$"))
        expect(page.locator("#summary").get_by_text("4 / 450 epochs")).to_be_visible()
        expect(page.locator("#runs").get_by_text("running")).to_be_visible()
        self.end(service, claim, made)
        expect(page.locator("#summary").get_by_text("succeeded").first).to_be_visible()
        expect(page.get_by_text("q1.accuracy.test")).to_be_visible()
        expect(page.get_by_role("img", name="Figure 1: Loss")).to_be_visible()
        expect(page.get_by_role("link", name="Try it the model of seed-0")).to_be_visible()
        expect(page.locator("#file-list").get_by_text("figure-1.png")).to_be_visible()

    def end(self, service: Service, claim: Claim, made: ModelFiles) -> None:
        service.succeed(claim, made.files, model=True)
        service.collate({"figure-1.png": picture(), "figure-1.csv": b"a\r\n"}, FULL_RESULTS)

    def test_what_a_worker_does_is_seen(self, at: Visit, scene: Scene) -> None:
        page = at.go("/workers")
        expect(page.get_by_text("a worker")).to_be_visible()
        expect(page.get_by_role("cell", name="training")).to_be_visible()
        expect(page.get_by_role("link", name=scene.running[-6:])).to_be_visible()


class TestCurves:
    """What can be done with curves."""

    def test_runs_are_hidden_smoothed_and_pointed_at(self, at: Visit, scene: Scene) -> None:
        page = at.go(f"/compare?job={scene.finished}&job={scene.running}")
        plot = page.locator("[data-chart=loss] .plot")
        expect(plot).to_have_attribute("aria-label", re.compile("2 curves"))
        page.get_by_label("Training").check()
        expect(plot).to_have_attribute("aria-label", re.compile("4 curves"))
        page.get_by_label("running · seed-0").uncheck()
        expect(plot).to_have_attribute("aria-label", re.compile("2 curves"))
        page.get_by_label("Log scale").check()
        page.get_by_label("Trim outliers").check()
        page.get_by_label("Smoothing").fill("0.5")
        expect(plot).to_have_attribute("aria-label", re.compile("train, 0.248$"))
        box = page.locator("[data-chart=loss] .u-over")
        box.hover()
        expect(page.locator("[data-chart=loss] .tip")).to_contain_text("Epoch 3")
        page.get_by_role("button", name="None").click()
        expect(plot).to_have_attribute("aria-label", "loss over epochs, 0 curves")
        page.get_by_label("Find a run").fill("running")
        page.get_by_role("button", name="All", exact=True).click()
        expect(plot).to_have_attribute("aria-label", re.compile("2 curves; .* running"))

    def test_runs_are_sorted_and_stay_so(self, at: Visit, scene: Scene) -> None:
        page = at.go(f"/jobs/{scene.running}")
        names = page.locator("#runs tbody th")
        expect(names).to_have_text(["seed-0", "seed-1"])
        head = page.locator("#runs th").nth(1)
        head.get_by_role("button").click()
        expect(names).to_have_text(["seed-1", "seed-0"])
        expect(head).to_have_attribute("aria-sort", "descending")
        with page.expect_response(re.compile("/runs$")):
            page.locator("#runs").dispatch_event("refresh")
        expect(names).to_have_text(["seed-1", "seed-0"])
        head.get_by_role("button").click()
        expect(names).to_have_text(["seed-0", "seed-1"])

    def test_chosen_runs_are_compared(self, at: Visit, scene: Scene) -> None:
        page = at.go(f"/jobs/{scene.running}")
        page.get_by_label("Choose seed-0").check()
        page.get_by_label("Choose seed-1").check()
        page.get_by_role("button", name="Compare the chosen").click()
        expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible()
        row = page.get_by_role("row", name=re.compile("^seed "))
        expect(row.locator("td.changed")).to_have_text("1")


class TestSubmit:
    """The form of a job."""

    def test_it_is_checked_while_it_is_typed(self, browser: Browser, scene: Scene) -> None:
        with visit(browser, scene.service.server.url, Path()) as visitor:
            page = visitor.go("/submit?kind=q2")
            expect(page.get_by_text("10 runs, 3,000 epochs at most")).to_be_visible()
            epochs = page.locator("#at-spec-max_epochs")
            epochs.fill("0")
            said = page.locator("#at-spec-max_epochs-error")
            expect(said).to_have_text("Input should be greater than or equal to 1")
            expect(epochs).to_have_attribute("aria-invalid", "true")
            expect(page.get_by_role("button", name="Submit the job")).to_be_disabled()
            epochs.fill("7")
            expect(said).to_be_hidden()
            expect(page.get_by_text("10 runs, 70 epochs at most")).to_be_visible()
            page.get_by_label("Grid", exact=True).check()
            page.locator("#at-spec-grid-batch_size").fill("50, 100, 200")
            expect(page.get_by_text("6 runs, 42 epochs at most")).to_be_visible()
            self.edit_the_request(page)
            refused = [text for text in visitor.complaints if "422" not in text]
            assert refused == []

    def edit_the_request(self, page: Page) -> None:
        """The JSON beside the form says the same, and changes it."""
        raw = page.locator("#raw")
        request = json.loads(raw.input_value())
        assert request["spec"]["max_epochs"] == 7
        assert request["spec"]["grid"]["batch_size"] == [50, 100, 200]
        raw.fill('{"kind": "q2", "spec": {"seeds": [1, 2]')
        expect(page.get_by_text("This is no JSON yet")).to_be_visible()
        raw.fill('{"kind": "q2", "name": "typed", "spec": {"seeds": [1, 2]}}')
        expect(page.get_by_text("20 runs, 6,000 epochs at most")).to_be_visible()
        expect(page.locator("#at-spec-seeds")).to_have_value("1, 2")
        expect(page.locator("#at-name")).to_have_value("typed")

    def test_a_job_is_submitted_by_keyboard_alone(self, at: Visit, scene: Scene) -> None:
        page = at.go("/jobs")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        press_until(page, page.get_by_role("link", name="New job"))
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 run, 450 epochs at most")).to_be_visible()
        press_until(page, page.get_by_label("report", exact=False).first)
        page.keyboard.press("ArrowRight")
        expect(page.get_by_text("1 run, 25 epochs at most")).to_be_visible()
        press_until(page, page.locator("#at-name"))
        page.keyboard.type("by keyboard")
        press_until(page, page.locator("#at-spec-max_epochs"))
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("3")
        expect(page.get_by_text("1 run, 3 epochs at most")).to_be_visible()
        page.keyboard.press("ControlOrMeta+Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard")
        job = scene.service.get("/v1/jobs", limit=1)["items"][0]
        assert (job["name"], job["preset"], job["spec"]["max_epochs"]) == (
            "by keyboard",
            "quick",
            3,
        )
        assert page.url.endswith(job["id"])
        press_until(page, page.get_by_role("button", name="Cancel"))
        page.keyboard.press("Enter")
        expect(page.locator("#summary").get_by_text("cancelled").first).to_be_visible()

    def test_a_job_is_run_again_with_changes(self, at: Visit, scene: Scene) -> None:
        page = at.go(f"/jobs/{scene.running}")
        page.get_by_role("link", name="Run again").click()
        expect(page.locator("#at-spec-seeds")).to_have_value("0, 1")
        expect(page.get_by_text("2 runs, 900 epochs at most")).to_be_visible()
        assert json.loads(page.locator("#raw").input_value())["spec"] == {"seeds": [0, 1]}


def press_until(page: Page, wanted: Locator) -> None:
    """Tab, until something has the focus."""
    for _ in range(80):
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("the keyboard does not get there")


class TestTryIt:
    """A model and a picture."""

    @pytest.fixture
    def page(self, at: Visit, scene: Scene) -> Page:
        return at.go(f"/models/{scene.model}")

    def test_a_row_of_the_test_set(self, page: Page, made: ModelFiles) -> None:
        page.get_by_label("Row of the test set").fill("3")
        page.get_by_role("button", name="Take it").click()
        expect(page.locator("#about")).to_contain_text("Row 3: ")
        expected = max(made.probabilities_NK[3])
        expect(page.locator("#bars")).to_contain_text(f"{100 * expected:.1f} %")
        expect(page.locator("#bars meter")).to_have_count(5)
        assert page.locator("#seen").evaluate("(image) => image.naturalWidth") >= 28
        expect(page.get_by_alt_text("The 4 feature maps of conv1")).to_be_visible()

    def test_a_file_and_what_is_none(self, page: Page, at: Visit) -> None:
        chooser = page.locator("#file")
        chooser.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture()})
        expect(page.locator("#about")).to_contain_text(
            "a.png, 64 \N{MULTIPLICATION SIGN} 48, inverted"
        )
        chooser.set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": b"no picture"})
        expect(page.locator(".answer .problem")).to_be_visible()
        assert [text for text in at.complaints if not re.search("415|422", text)] == []
        at.complaints.clear()

    def test_a_drawing_by_mouse_and_by_keyboard(self, page: Page) -> None:
        canvas = page.locator("#canvas")
        box = canvas.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 220, steps=8)
        page.mouse.up()
        expect(page.locator("#about")).to_have_text("The model says")
        first = page.locator("#seen").get_attribute("src")
        page.get_by_role("button", name="Clear").click()
        canvas.focus()
        for key in ("Space", "ArrowRight", "ArrowRight", "Space", "ArrowDown", "Space", "Enter"):
            page.keyboard.press(key)
        expect(page.locator("#seen")).not_to_have_attribute("src", first or "")
