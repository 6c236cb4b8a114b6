"""`fmx open`: the address of a page, and the browser that gets it."""

from pathlib import Path

import pytest
from command_line import Fmx
from http_service import Service


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A browser that writes down the addresses it is given."""
    seen = tmp_path / "seen"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" >> {seen}\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    return seen


def test_pages_and_jobs_are_opened(service: Service, fmx: Fmx, browser: Path) -> None:
    job_id = service.submit()["id"]
    paths = {"jobs": "/jobs", "models": "/models", "docs": "/docs", "last": f"/jobs/{job_id}"}
    for name, path in paths.items():
        said = fmx("open", name)
        assert said.status == 0, said.err
        assert said.out.strip() == f"opened {service.server.url}{path}"
    assert browser.read_text().split() == [service.server.url + path for path in paths.values()]


def test_without_a_browser_the_address_is_printed(service: Service, fmx: Fmx) -> None:
    process = fmx.start("open", "workers", PATH="/nowhere", BROWSER="", DISPLAY="")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.strip() == f"{service.server.url}/workers"


def test_json_opens_nothing(service: Service, fmx: Fmx, browser: Path) -> None:
    assert fmx("open", "--json").value == {"url": f"{service.server.url}/jobs"}
    assert not browser.exists()


def test_a_page_that_there_is_not(service: Service, fmx: Fmx) -> None:
    del service
    said = fmx("open", "no-such-page")
    assert said.status == 1
    assert "no job's id begins or ends with no-such-page" in said.err
