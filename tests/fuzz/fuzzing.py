"""Schemathesis against the real server: every operation of its OpenAPI document, every check.

`python tests/fuzz/fuzzing.py --cases 20000` (that is `make fuzz`) makes a record by real trainings
of synthetic pictures, starts `python -m api` on it, and sends cases in rounds until there were so
many: the document's examples, the bounds of each value and one beyond, values drawn at random,
and walks along the document's links. Each round has a seed of its own, which it prints, and which
makes the same round again.

Exit status: 0 nothing found, 1 a check has failed or the server's log has an error.
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from services import ROOT, Column, migrate
from stack import running, serve, submit, wait_for_end

CONFIG = Path(__file__).with_name("schemathesis.toml")
ROUND_EXAMPLES = 40  # of each operation in a round, beside those of its bounds

# Nine in ten of all bounds are those of the many members of a job's request.
BRIEF = """
[[operations]]
include-path = ["/v1/jobs", "/v1/jobs/validate"]
include-method = "POST"
phases.coverage.enabled = false
"""

_TINY = {"dataset": "synthetic", "max_epochs": 1}


@dataclass(frozen=True)
class Known:
    """What is in the record, by kind; each list is put into a part of the cases."""

    jobs: Sequence[str]
    runs: Sequence[str]
    models: Sequence[str]
    files: Sequence[str]
    kinds: Sequence[str] = ("q1", "q2", "q3", "q4", "q5")


@dataclass(frozen=True)
class Round:
    """How one went."""

    seed: int
    num_cases: int
    failures: Sequence[str]
    output: str


def make_record(column: Column) -> Known:
    """Trains some jobs by a real worker: two succeed, one diverges, one is cancelled."""
    with serve(column) as (_, client):
        good = [
            submit(client, preset="quick", spec={**_TINY, "seeds": seeds})
            for seeds in ([0, 1], [2])
        ]
        bad = submit(client, preset="quick", spec={**_TINY, "optimiser": {"learning_rate": 1e30}})
        for job_id in (*good, bad):
            wait_for_end(client, job_id)
        cancelled = submit(client, priority=0)
        client.post(f"/v1/jobs/{cancelled}/cancel").raise_for_status()
        jobs = [*good, bad, cancelled]
        return Known(
            jobs=jobs,
            runs=[run["id"] for job in jobs for run in _items(client, f"/v1/jobs/{job}/runs")],
            models=[model["id"] for model in _items(client, "/v1/models")],
            files=[file["path"] for file in _items(client, f"/v1/jobs/{good[0]}/artifacts")],
        )


def _items(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    return client.get(path).raise_for_status().json()["items"]


@contextmanager
def serving(column: Column) -> Generator[tuple[str, list[str]]]:
    """The server alone, its URL and the lines that it logs. Long polls and streams end soon."""
    environment = column.process_environment(port=0, max_wait_seconds=1, max_stream_seconds=1)
    with running(["api"], environment) as process:
        url = process.wait_for(r"listens on (http://\S+)")[1]
        yield url, process.lines


def run_round(
    url: str, known: Known, seed: int, examples: int, folder: Path, *, brief: bool = False
) -> Round:
    """One run of Schemathesis over all operations; a brief one leaves out most bounds of jobs."""
    config, report = folder / "schemathesis.toml", folder / f"{seed}.json"
    config.write_text(CONFIG.read_text() + _list_known(known) + (BRIEF if brief else ""))
    options = {
        "--url": url,
        "--seed": str(seed),
        "--max-examples": str(examples),
        "--report-json-path": str(report),
    }
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += ["--no-color", "--continue-on-failure", "--warnings", "off", f"{url}/openapi.json"]
    done = subprocess.run(
        [*command, *(text for option in options.items() for text in option)],
        cwd=folder,
        env=_environment(known),
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    if not report.exists():
        raise RuntimeError(f"Schemathesis left no report:\n{output}")
    told = json.loads(report.read_text())
    found = [f"{item['title']}: {', '.join(item['operations'])}" for item in told["failures"]]
    found += [f"error: {item['title']}" for item in told["errors"]]
    if done.returncode and not found:
        found = [f"exit status {done.returncode}"]
    return Round(seed, told["test_cases"]["generated"], found, output)


def _list_known(known: Known) -> str:
    """The record's ids, as dictionaries of Schemathesis's configuration."""
    return "".join(
        f"\n[dictionaries.{name}]\nvalues = {json.dumps(list(values))}\n"
        for name, values in vars(known).items()
    )


def _environment(known: Known) -> dict[str, str]:
    paths = [str(Path(__file__).parent), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "SCHEMATHESIS_HOOKS": "fuzz_hooks",
        "FUZZ_KEPT_JOBS": ",".join(known.jobs),
    }


def find_errors(lines: Sequence[str]) -> list[str]:
    """What a server's log tells of its own failures."""
    return [line for line in lines if re.search(r"\b(ERROR|CRITICAL)\b|Traceback", line)]


def main() -> int:
    """Rounds until there were enough cases; gives back the exit status."""
    parser = argparse.ArgumentParser(description="Schemathesis against the real server.")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    parser.add_argument("--examples", type=int, default=ROUND_EXAMPLES)
    given = parser.parse_args()
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory(prefix="fmx-fuzz-") as name:
        column = Column("embedded", {"FMX_DATA_DIR": name})
        migrate("", Path(name))
        return fuzz(column, given.cases, seed, given.examples)


def fuzz(column: Column, cases: int, seed: int, examples: int) -> int:
    """Rounds until there were so many cases, from this seed on; gives back the exit status."""
    known = make_record(column)
    num_cases = 0
    with serving(column) as (url, lines):
        while num_cases < cases:
            done = run_round(url, known, seed, examples, column.data_dir)
            num_cases += done.num_cases
            print(f"seed {seed}: {done.num_cases} cases, {num_cases} so far", flush=True)
            errors = find_errors(lines)
            if done.failures or errors:
                print(done.output, *done.failures, *errors, sep="\n")
                return 1
            seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
