"""`fmx logs` and `fmx events`: what they print, as it comes."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from http_service import Service, epoch
from services import ROOT

from fmx_store import claims
from fmx_store.claims import Claim
from fmx_store.logs import Logged
from fmx_store.progress import Progress


class Fmx:
    """The command line, set to one server."""

    def __init__(self, service: Service) -> None:
        self._environment = {**os.environ, "FMX_URL": service.server.url, "TERM": "dumb"}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "fmx_client.cli", *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What it prints; errors, where its status says so."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, err
        return err if status else out


def rest_of(process: "subprocess.Popen[str]") -> str:
    """What is printed until a good end."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        out, err = process.stdout.read(), process.stderr.read()
    assert (err, process.wait(60)) == ("", 0)
    return out


@pytest.fixture
def fmx(service: Service) -> Fmx:
    return Fmx(service)


@pytest.fixture
def claim(service: Service) -> Claim:
    """A run that has logged two lines and trained an epoch."""
    service.submit()
    claim = service.claim()
    logged = Logged(0, b"one\ntwo\tand \x1b[2J more\n", 10_000)
    claims.record_all(service.db, {claim.lease: Progress([epoch(1)], logged=logged)})
    return claim


def test_logs_are_printed(service: Service, fmx: Fmx, claim: Claim) -> None:
    lines = fmx("logs", "last").splitlines()
    assert [line.partition("Z ")[2] for line in lines] == [
        "seed-0 #1 one",
        "seed-0 #1 two  and \N{REPLACEMENT CHARACTER}[2J more",
    ]
    assert fmx("logs", claim.job.id, "--tail=1", "--run=seed-0").splitlines() == lines[1:]
    assert len(json.loads(fmx("logs", "last", "--json"))["lines"]) == 2
    assert fmx("logs", "last", "--run=seed-9", status=1) == "fmx: the job has no run seed-9\n"
    process = fmx.start("logs", claim.job.id, "-f")
    assert process.stdout is not None
    assert process.stdout.readline().endswith("one\n")
    service.fail(claim)
    assert len(rest_of(process).splitlines()) == 1


def test_events_are_printed(service: Service, fmx: Fmx, claim: Claim) -> None:
    process = fmx.start("events", claim.job.id)
    assert process.stdout is not None
    first: dict[str, Any] = json.loads(process.stdout.readline())
    assert (first["event"], first["data"]["state"]) == ("job", "queued")
    service.fail(claim)
    rest = [json.loads(line) for line in rest_of(process).splitlines()]
    assert [event["event"] for event in rest[:3]] == ["job", "run", "epochs"]
    assert rest[-1]["event"] == "end"
    after = fmx("events", "last", f"--after={rest[-2]['id']}").splitlines()
    assert [json.loads(line) for line in after] == rest[-1:]
    assert "no event had this id" in fmx("events", "last", "--after=x", status=2)
