"""The audit tells what is vulnerable from what could not be asked for, and lists what is installed.

The service that knows vulnerabilities is one of the test's own, spoken to by the real pip-audit.
"""

import importlib
import importlib.metadata
import json
import os
import shutil
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Generator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from deploy_files import ROOT
from services import free_port

from scripts import audit

TOOLS = ("bandit", "cyclonedx_py", "pip_audit")
VULNERABLE, MENDED = "six==1.0", "six==1.17.0"


@pytest.fixture(autouse=True)
def tools() -> None:
    """The extra `audit`; without it these tests are skipped, or fail where nothing may be."""
    if os.environ.get("FMX_REQUIRE_SERVICES") != "1":
        for tool in TOOLS:
            pytest.importorskip(tool, reason="comes with the extra audit")


class Service(BaseHTTPRequestHandler):
    """Knows one vulnerability: of the package of that name, in that version."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Known)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_it = f"{asked['package']['name']}=={asked['version']}" == VULNERABLE
        answer = json.dumps({"vulns": [_VULNERABILITY]} if is_it else {})
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write((server.junk or answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing is printed."""


_VULNERABILITY = {
    "id": "TEST-2026-1",
    "summary": "made up",
    "affected": [
        {
            "package": {"name": "six", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.17.0"}]}],
        }
    ],
}


class Known(socketserver.ThreadingMixIn, HTTPServer):
    """The service, and how it answers."""

    status = HTTPStatus.OK
    junk = ""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Generator[Known]:
    server = Known(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    ask_at(monkeypatch, server.server_port)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{port}/v1/query")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def pin(folder: Path, *lines: str) -> Path:
    file = folder / "pinned.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.usefixtures("service")
def test_no_known_vulnerability_is_clean(tmp_path: Path) -> None:
    found = audit.check_packages(pin(tmp_path, MENDED, "vine==5.1.0"))
    assert found == audit.Packages()
    assert found.status == audit.CLEAN


@pytest.mark.usefixtures("service")
def test_a_vulnerability_is_found_and_says_what_mends_it(tmp_path: Path) -> None:
    found = audit.check_packages(pin(tmp_path, "vine==5.1.0", VULNERABLE))
    assert found.vulnerable == ("six 1.0: TEST-2026-1, mended in 1.17.0",)
    assert found.status == audit.FOUND


def test_a_service_that_is_away_is_no_clean_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_at(monkeypatch, free_port())
    found = audit.check_packages(pin(tmp_path, MENDED))
    assert found.status == audit.NOT_AUDITED
    assert found.unaudited[0].startswith("all packages: ")


@pytest.mark.parametrize(
    ("status", "junk"), [(HTTPStatus.SERVICE_UNAVAILABLE, ""), (HTTPStatus.OK, "<html>who?</html>")]
)
def test_a_service_that_answers_nothing_of_use_is_no_clean_audit(
    service: Known, tmp_path: Path, status: HTTPStatus, junk: str
) -> None:
    service.status, service.junk = status, junk
    assert audit.check_packages(pin(tmp_path, MENDED)).status == audit.NOT_AUDITED


def test_a_file_that_pins_nothing_is_no_clean_audit(tmp_path: Path) -> None:
    assert audit.check_packages(pin(tmp_path)).status == audit.NOT_AUDITED


def test_a_package_that_the_auditor_skips_is_named() -> None:
    skipped = {"name": "mine", "skip_reason": "not on the service"}
    answer = json.dumps({"dependencies": [{"name": "six", "version": "1", "vulns": []}, skipped]})
    found = audit.read_answer(answer, "")
    assert found.unaudited == ("mine: not on the service",)
    assert found.status == audit.NOT_AUDITED


def test_our_code_has_no_finding_and_a_hole_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert audit.check_code() == 0, capfd.readouterr().out
    hole = tmp_path / "hole.py"
    hole.write_text("import subprocess\nsubprocess.call('ls ' + input(), shell=True)\n")
    monkeypatch.setattr(audit, "OURS", (str(hole),))
    assert audit.check_code() == 1
    assert "B602" in capfd.readouterr().out


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """The whole audit where no service can be reached: status, what was said, the list."""
    sbom = tmp_path_factory.mktemp("audit") / "sbom.json"
    done = subprocess.run(
        [sys.executable, "scripts/audit.py", "--sbom", str(sbom)],
        cwd=ROOT,
        env={
            **os.environ,
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": f"http://127.0.0.1:{free_port()}/v1/query",
            "NO_PROXY": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, sbom


def test_what_could_not_be_asked_has_a_status_and_a_warning_of_its_own(
    audited: tuple[int, str, Path],
) -> None:
    status, said, _ = audited
    assert status == audit.NOT_AUDITED, said
    assert "our code: nothing found" in said
    assert "WARNING: not audited: all packages: " in said
    assert "no known vulnerability" not in said


def test_the_list_of_packages_is_valid_and_whole(audited: tuple[int, str, Path]) -> None:
    validation = importlib.import_module("cyclonedx.validation.json")
    schema = importlib.import_module("cyclonedx.schema").SchemaVersion
    text = audited[2].read_text()
    listed = json.loads(text)
    version = schema.from_version(listed["specVersion"])
    validator = validation.JsonStrictValidator(version)
    assert validator.validate_str(text) is None
    spoilt = {**listed, "components": [{"type": "libary", "name": "x"}], "dependencies": []}
    assert validator.validate_str(json.dumps(spoilt)) is not None
    found = {c["name"].lower(): c["version"] for c in listed["components"]}
    for package in ("fastapi", "celery", "torch", "sqlmodel"):
        assert found[package] == importlib.metadata.version(package)
    assert listed["metadata"]["component"]["name"] == "fmx"
    licensed = [component for component in listed["components"] if component.get("licenses")]
    assert len(licensed) > 0.8 * len(listed["components"])


@pytest.mark.parametrize(
    ("audit_status", "status", "last"),
    [(0, 0, "tests"), (audit.NOT_AUDITED, 0, "NOT AUDITED: known"), (audit.FOUND, 1, "audit")],
)
def test_ci_fails_on_what_is_found_and_says_what_is_not_known(
    tmp_path: Path, audit_status: int, status: int, last: str
) -> None:
    """The real script, with stand-ins for all that it starts."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    programs = tmp_path / "programs"
    say = 'case "$*" in test*) echo tests;; esac'
    stand_in(programs / "make", say)
    stand_in(programs / "apt-get", "true")
    stand_in(programs / "sudo", '"$@"')
    stand_in(tmp_path / ".venv" / "bin" / "python", f"echo audit; exit {audit_status}")
    summary = tmp_path / "summary"
    done = subprocess.run(
        ["bash", str(tmp_path / ".ci" / "run")],
        env={"PATH": f"{programs}:/usr/bin:/bin", "GITHUB_STEP_SUMMARY": str(summary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1].startswith(last)
    assert summary.exists() is (audit_status == audit.NOT_AUDITED)


def stand_in(path: Path, does: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
