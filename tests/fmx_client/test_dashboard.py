"""`fmx open`: the address of a page, and the browser that gets it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import Fmx
from http_service import Service


@dataclass(frozen=True)
class WritingBrowser:
    """A browser that writes down the addresses it is given."""

    command: str
    seen: Path


@pytest.fixture
def browser(tmp_path: Path) -> WritingBrowser:
    seen, program = tmp_path / "seen", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" >> {seen}\n')
    program.chmod(0o755)
    return WritingBrowser(f"{program} %s", seen)


def run(fmx: Fmx, page: str, **variables: str) -> str:
    """What `fmx open` prints, as a process: Python finds the browsers there are only once."""
    process = fmx.start("open", page, **variables)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.strip()


def test_pages_and_jobs_are_opened(service: Service, fmx: Fmx, browser: WritingBrowser) -> None:
    job_id = service.submit()["id"]
    paths = {"models": "/models", "last": f"/jobs/{job_id}"}
    for name, path in paths.items():
        said = run(fmx, name, BROWSER=browser.command)
        assert said == f"opened {service.server.url}{path}"
    assert browser.seen.read_text().split() == [service.server.url + p for p in paths.values()]


def test_without_a_browser_the_address_is_printed(service: Service, fmx: Fmx) -> None:
    said = run(fmx, "workers", PATH="/nowhere", BROWSER="", DISPLAY="", WAYLAND_DISPLAY="")
    assert said == f"{service.server.url}/workers"


def test_json_opens_nothing(service: Service, fmx: Fmx, browser: WritingBrowser) -> None:
    process = fmx.start("open", "--json", BROWSER=browser.command)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out) == {"url": f"{service.server.url}/jobs"}
    assert not browser.seen.exists()


def test_a_page_that_there_is_not(service: Service, fmx: Fmx) -> None:
    del service
    said = fmx("open", "no-such-page")
    assert said.status == 1
    assert "no job's id begins or ends with no-such-page" in said.err
