"""The command, and how its findings look."""

from collections.abc import Sequence

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fmx_client.doctor.findings import Finding, gather
from fmx_client.doctor.machine import look_at_machine
from fmx_client.doctor.packages import look_at_packages, look_at_pins, look_at_python
from fmx_client.doctor.server import look_at_server
from fmx_client.options import AsJson, Url
from fmx_client.session import FAILED, put
from fmx_client.terminal.text import make_console, plain

_MARKS = {"ok": ("✔", "green"), "warning": ("!", "yellow"), "failed": ("✘", "red")}


def doctor(url: Url = None, as_json: AsJson = False) -> None:
    """Look at this program, this machine and the server: what works, and what helps.

    Exits with 0 where all of it works and with 1 where something does not.
    """
    found = [look_at_python(), look_at_packages(), look_at_pins()]
    findings = [finding for finding in found if finding is not None]
    findings += look_at_machine()
    findings += look_at_server(url)
    answer = gather(findings)
    put(make_console(), answer, _view(answer.checks), as_json=as_json)
    if not answer.is_well:
        raise typer.Exit(FAILED)


def _view(findings: Sequence[Finding]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.level]
        says = Text(plain(finding.says))
        if finding.cure is not None:
            says.append(f"\n→ {plain(finding.cure)}", style=style)
        table.add_row(Text(mark, style=style), finding.name, says)
    return table
