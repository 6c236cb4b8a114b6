"""The command `fmx` under test, in this process or as one of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from services import ROOT
from typer.testing import CliRunner

from fmx_client.cli import app


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON document on standard output."""
        assert self.status == 0, self.err
        return json.loads(self.out)


class Fmx:
    """The command line, set to one server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: str, stdin: str | None = None) -> Said:
        environment = {"FMX_URL": self.url, "COLUMNS": "", "TERM": "dumb"}
        result = CliRunner().invoke(app, arguments, input=stdin, env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "fmx_client.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, "FMX_URL": self.url, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
