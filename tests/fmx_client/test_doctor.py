"""`fmx doctor` at the client's side: program, packages, server, key, clock; each broken once."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from email.utils import formatdate
from importlib.metadata import distribution, requires, version
from pathlib import Path

import httpx
import pytest
from command_line import Fmx
from http_service import Service, serve
from services import ROOT, Column, free_port

from fmx_client.doctor import packages
from fmx_client.doctor.findings import Finding
from fmx_client.doctor.packages import look_at_packages, look_at_pins, look_at_python, release
from fmx_client.doctor.server import look_at_server
from fmx_store import keys
from fmx_store.keys import Scope
from fmx_store.tables import now


def assert_cured(finding: Finding, level: str, says: str, cure: str) -> None:
    """A finding is bad, says why, and says what helps."""
    assert finding.level == level, finding
    assert says in finding.says
    assert finding.cure is not None
    assert cure in finding.cure


def named(findings: list[Finding], name: str) -> Finding:
    """The one finding with a name."""
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def install(folder: Path, name: str, version: str, *lines: str) -> None:
    """A package as importlib.metadata sees it; before all others, if the folder is on the path."""
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir()
    text = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *lines]
    (place / "METADATA").write_text("\n".join(text) + "\n")


def test_this_python_and_these_packages_are_well() -> None:
    assert look_at_python().level == "ok"
    found = look_at_packages()
    assert found.level == "ok", found
    assert "extras: api, ml, store" in found.says
    pins = look_at_pins()
    assert pins is not None
    assert pins.level != "failed"


def test_a_python_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "fmx", "9.9", "Requires-Python: >=99.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert_cured(look_at_python(), "failed", "fmx needs 99.1 or newer", "PYTHON=python99.1")


def test_packages_that_are_too_old_or_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "rich", "1.2.3")
    needs = [f"Requires-Dist: {line}" for line in requires("fmx") or ()]
    gone = 'Requires-Dist: there-is-no-such-package>=1; extra == "store"'
    install(tmp_path, "fmx", "9.9", *needs, gone)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = look_at_packages()
    assert_cured(found, "failed", "rich is 1.2.3, and 14 is the least", "pip install --upgrade")
    assert "there-is-no-such-package is missing" in found.says


def test_packages_that_are_not_the_tested_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "typer", "77.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = look_at_pins()
    assert found is not None
    assert_cured(found, "warning", "typer 77.0 (tested: ", "scripts/setup.sh")


def test_an_installation_without_sources_has_no_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_PINS", tmp_path / "constraints.txt")
    assert look_at_pins() is None


def test_versions_are_compared_as_numbers() -> None:
    assert release("2.14.1+cu130") == (2, 14, 1)
    assert release("0.9") < release("0.10")


def look(url: str, transport: httpx.BaseTransport | None = None) -> list[Finding]:
    """What a client sees of a server."""
    return list(look_at_server(url, transport))


def test_a_server_that_is_well(service: Service) -> None:
    findings = look(service.server.url)
    assert [finding.name for finding in findings] == ["server", "clock", "readiness", "key", "jobs"]
    assert {finding.level for finding in findings} == {"ok"}, findings
    assert f"is fmx {version('fmx')}" in findings[0].says


def test_no_server() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    (found,) = look(url)
    assert_cured(found, "failed", f"{url} does not answer", "FMX_URL")


def test_an_address_and_a_key_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = look("localhost:8000")
    assert_cured(found, "failed", "is no server's address", "FMX_URL")
    monkeypatch.setenv("FMX_API_KEY", "with space")
    (found,) = look("http://127.0.0.1:1")
    assert_cured(found, "failed", "can't be a key", "FMX_API_KEY")
    assert "with space" not in found.says


class Changed(httpx.HTTPTransport):
    """The real server's answers, changed as a proxy or a wrong clock would."""

    def __init__(self, **headers: str) -> None:
        super().__init__()
        self._headers = headers

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        answer.headers.update(self._headers)
        return answer


@pytest.mark.parametrize(("shift", "says"), [(-600, "s ahead of"), (600, "s behind")])
def test_a_clock_that_is_wrong(service: Service, shift: int, says: str) -> None:
    dated = Changed(date=formatdate(time.time() + shift, usegmt=True))
    found = named(look(service.server.url, dated), "clock")
    assert_cured(found, "failed", says, "NTP")


def test_answers_without_a_date(service: Service) -> None:
    found = named(look(service.server.url, Changed(date="yesterday")), "clock")
    assert_cured(found, "warning", "no date", "proxy")


def test_something_else_that_answers(service: Service) -> None:
    found = look(f"{service.server.url}/v1")
    assert_cured(found[0], "failed", "is no fmx server", "FMX_URL")


class Newer(httpx.HTTPTransport):
    """The real server, which says that it is of another version."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.url.path != "/v2":
            return answer
        body = json.loads(answer.read())
        return httpx.Response(200, json={**body, "version": "99.0"})


def test_a_server_of_another_version(service: Service) -> None:
    found = named(look(service.server.url, Newer()), "server")
    assert_cured(found, "warning", "fmx 99.0", "older client")


def test_a_server_that_can_not_do_its_work(embedded_column: Column, tmp_path: Path) -> None:
    settings = embedded_column.settings(port=0, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    with serve(settings, tmp_path) as service:
        found = named(look(service.server.url), "readiness")
    assert_cured(found, "failed", "the server says of its broker", "fmx admin doctor")


@pytest.fixture
def keyed(embedded_column: Column, tmp_path: Path) -> Generator[Service]:
    """A server that needs keys."""
    with serve(embedded_column.settings(port=0, keys="required"), tmp_path) as service:
        yield service


def test_keys(keyed: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(key: str | None) -> Finding:
        if key is None:
            monkeypatch.delenv("FMX_API_KEY", raising=False)
        else:
            monkeypatch.setenv("FMX_API_KEY", key)
        return named(look(keyed.server.url), "key")

    def make(*scopes: Scope) -> str:
        return keys.create(keyed.db, "ada", scopes)[1]

    assert_cured(ask(None), "failed", "wants a key", "fmx admin keys create")
    assert_cured(ask("fmx_" + "x" * 43), "failed", "does not know the key", "FMX_API_KEY")
    expired = keys.create(keyed.db, "ada", {Scope.READ}, expires_at=now())[1]
    assert_cured(ask(expired), "failed", "does not know the key", "FMX_API_KEY")
    reader = ask(make(Scope.READ))
    assert_cured(reader, "warning", "it may read, and lacks submit, predict", "--scope")
    assert ask(make(Scope.READ, Scope.SUBMIT, Scope.PREDICT)).level == "ok"
    assert ask(make(Scope.ADMIN)).says == "accepted; it may read, submit, predict"


def test_a_key_that_may_not_read_is_told_nothing_of_jobs(
    keyed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMX_API_KEY", keys.create(keyed.db, "ada", {Scope.PREDICT})[1])
    findings = look(keyed.server.url)
    assert_cured(named(findings, "key"), "warning", "may predict, and lacks read", "--scope")
    assert "jobs" not in {finding.name for finding in findings}


def test_too_many_bad_keys(
    embedded_column: Column, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMX_API_KEY", "fmx_" + "x" * 43)
    settings = embedded_column.settings(port=0, keys="required", rate_bad_keys_per_minute=1)
    with serve(settings, tmp_path) as service:
        look(service.server.url)
        found = named(look(service.server.url), "key")
    assert_cured(found, "failed", "keys that are not known", "wait a minute")


def test_a_job_that_nobody_begins(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.submit()
    assert named(look(service.server.url), "jobs").level == "ok", "it has only just come"
    monkeypatch.setattr("fmx_client.doctor.server.PATIENCE_SECONDS", -5.0)
    found = named(look(service.server.url), "jobs")
    assert_cured(found, "failed", "1 jobs wait", "python -m worker")
    service.claim()
    assert named(look(service.server.url), "jobs").level == "ok"


def test_the_command_says_all_in_one_answer(service: Service, embedded_column: Column) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fmx_client.cli", "doctor", "--json"],
        cwd=ROOT,
        env={**embedded_column.process_environment(), "FMX_URL": service.server.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    checks = {check["name"]: check["level"] for check in said["checks"]}
    assert said["is_well"] is True
    assert checks.keys() >= {"python", "packages", "settings", "database", "storage", "jobs"}


def test_a_machine_part_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    broken = tmp_path / "sqlmodel"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('sqlmodel is damaged')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    said = Fmx(service.server.url)("doctor")
    assert said.status == 1
    assert re.search(r"✘ +machine +fmx admin doctor: .*sqlmodel is damaged", said.out)
    assert re.search(r"→ install fmx anew", said.out)
    assert re.search(r"✔ +server +http", said.out)


def client_alone(folder: Path) -> Path:
    """A folder with what `pip install fmx` without extras brings, and no more."""
    wanted, seen = ["fmx"], set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        needs = [line for line in distribution(name).requires or () if "extra ==" not in line]
        wanted += [line for line in map(_package, needs) if _is_here(line)]
    for name in seen - {"fmx"}:
        for file in distribution(name).files or ():
            link_package(folder, Path(str(distribution(name).locate_file(file.parts[0]))))
    for room in ("fmx_client", "fmx_ml", "fmx_store"):
        link_package(folder, ROOT / room)
    place = folder / "fmx-0.1.0.dist-info"
    place.mkdir()
    told = distribution("fmx").read_text("METADATA") or distribution("fmx").read_text("PKG-INFO")
    assert told, "a wheel's, or a source checkout's"
    (place / "METADATA").write_text(told)
    return folder


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _is_here(package: str) -> bool:
    try:
        distribution(package)
    except ModuleNotFoundError:
        return False
    return True


def link_package(folder: Path, source: Path) -> None:
    """What is installed elsewhere, in this folder too."""
    target = folder / source.name
    if source.exists() and ".." not in source.parts and not target.exists():
        target.symlink_to(source)


def test_a_machine_with_the_client_alone(service: Service, tmp_path: Path) -> None:
    site = client_alone(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r});"
        "from fmx_client.cli import main; sys.argv = ['fmx', 'doctor', '--json']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        env={"FMX_URL": service.server.url, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert "the client alone" in checks["machine"]["says"]
    assert "none: the client alone" in checks["packages"]["says"]
    assert checks["server"]["level"] == "ok"
    assert "database" not in checks
