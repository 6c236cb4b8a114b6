"""The supply chain: `make audit`, or `python scripts/audit.py [--sbom FILE]`.

Looks at our own code (bandit), asks for known vulnerabilities of every pinned package (pip-audit),
and writes down what is installed (CycloneDX). Exit status: 0 nothing was found, 1 something was,
3 nothing was, but the vulnerabilities of some packages could not be asked for.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OURS = ("api", "fmx_client", "fmx_ml", "fmx_store", "migrations", "worker", "scripts")
CLEAN, FOUND, NOT_AUDITED = 0, 1, 3

ASK_SECONDS = 15  # for one answer of the service that knows vulnerabilities
AUDIT_SECONDS = 600  # for all of them
LAST_LINES = 3  # of what a tool has said before it gave up


@dataclass(frozen=True)
class Packages:
    """What is known of the pinned packages: vulnerabilities by package, and who was not audited."""

    vulnerable: tuple[str, ...] = ()
    unaudited: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status that this stands for."""
        if self.vulnerable:
            return FOUND
        return NOT_AUDITED if self.unaudited else CLEAN


def main(arguments: Sequence[str] | None = None) -> int:
    """Audits everything, also after something was found; gives back the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sbom", type=Path, default=ROOT / "out" / "sbom.json")
    parser.add_argument("--requirements", type=Path, default=ROOT / "constraints.txt")
    asked = parser.parse_args(arguments)
    code = check_code()
    packages = check_packages(asked.requirements)
    write_sbom(asked.sbom)
    report(code, packages, asked.sbom)
    return FOUND if code else packages.status


def check_code() -> int:
    """Bandit's exit status on our own code; it prints what it finds."""
    command = ["bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml", *OURS]
    return _run(command, capture=False).returncode


def check_packages(requirements: Path) -> Packages:
    """Asks for vulnerabilities of every package that a file pins."""
    command = ["pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(ASK_SECONDS)]
    try:
        done = _run(command, capture=True)
    except subprocess.TimeoutExpired:
        return Packages(unaudited=(f"all packages: no end within {AUDIT_SECONDS} s",))
    return read_answer(done.stdout, done.stderr)


def read_answer(answer: str, said: str) -> Packages:
    """What pip-audit found.

    Its exit status does not tell vulnerabilities from a service that can't be reached: it is 1 for
    both. Only where the service has answered is there a document.
    """
    try:
        dependencies: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = " / ".join(line for line in said.strip().splitlines()[-LAST_LINES:])
        return Packages(unaudited=(f"all packages: {last or 'the auditor said nothing'}",))
    if not dependencies:
        return Packages(unaudited=("all packages: the auditor has looked at none",))
    return Packages(
        vulnerable=tuple(_describe(d, v) for d in dependencies for v in d.get("vulns", ())),
        unaudited=tuple(
            f"{d['name']}: {d['skip_reason']}" for d in dependencies if d.get("skip_reason")
        ),
    )


def _describe(dependency: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    mended = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
    return (
        f"{dependency['name']} {dependency['version']}: {vulnerability['id']}, mended in {mended}"
    )


def write_sbom(path: Path) -> None:
    """Every installed package with its licence, as a CycloneDX document that is valid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["cyclonedx_py", "environment", "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--validate", "--output-file", str(path), sys.executable]
    _run(command, capture=False).check_returncode()


def report(code: int, packages: Packages, sbom: Path) -> None:
    """Says how it went, at last what is not known."""
    print("our code: " + ("see above" if code else "nothing found"))
    for line in packages.vulnerable:
        print(f"vulnerable: {line}")
    if packages.status == CLEAN:
        print("packages: no known vulnerability")
    print(f"packages and licences: {os.path.relpath(sbom, ROOT)}")
    for line in packages.unaudited:
        print(f"WARNING: not audited: {line}", file=sys.stderr)


def _run(command: Sequence[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=capture,
        text=True,
        check=False,
        timeout=AUDIT_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())
