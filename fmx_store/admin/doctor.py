"""`fmx admin doctor`: what of this machine's settings and services works, and what helps."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from fmx_store.admin.checks import examine
from fmx_store.admin.findings import Finding

_MARKS = {"ok": "ok", "warning": "!!", "failed": "XX"}


def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document.")] = False
) -> None:
    """Look at everything that a server or worker of this machine needs.

    Exits with 0 where all of it works, with 1 where something does not. `fmx doctor` says this
    and what a client sees.
    """
    findings = examine(os.environ)
    is_well = all(finding.level != "failed" for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        typer.echo(json.dumps({"is_well": is_well, "checks": checks}, indent=2))
    else:
        typer.echo(_as_text(findings))
    raise typer.Exit(0 if is_well else 1)


def _as_text(findings: Sequence[Finding]) -> str:
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.level]}  {finding.name:12} {finding.says}")
        if finding.cure:
            lines.append(f"{'':17}-> {finding.cure}")
    return "\n".join(lines)
