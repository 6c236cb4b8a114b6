"""What `fmx admin doctor` finds on this machine, where the server's side is installed."""

import subprocess
import sys

from pydantic import ValidationError

from fmx_client.doctor.findings import Finding, Findings, failed, ok
from fmx_client.doctor.packages import has_extra

_SECONDS = 300.0  # a compiler and torch on a slow disk take their time


def look_at_machine() -> list[Finding]:
    """Its findings: settings, record, broker, storage, workers, torch, data."""
    if not has_extra("store"):
        return [ok("machine", "the client alone is installed: nothing more to look at here")]
    command = [sys.executable, "-m", "fmx_store.admin", "doctor", "--json"]
    try:
        done = subprocess.run(  # noqa: S603 - a program of this project
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [_broken(f"no end after {_SECONDS:g} s")]
    try:
        return Findings.model_validate_json(done.stdout).checks
    except ValidationError:
        return [_broken((done.stderr.strip().splitlines() or ["it said nothing"])[-1])]


def _broken(says: str) -> Finding:
    return failed("machine", f"fmx admin doctor: {says}", "install fmx anew: scripts/setup.sh dev")
