"""The record behind its routes: submissions, polls and lists, with few jobs and with very many.

Two servers on SQLite run at the same time, each a process of its own, and are loaded in turn.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.big_record import BigRecord, fill
from benchmarks.http_load import Load, load, make_request
from benchmarks.measuring import Row, Unit, seconds_of
from fmx_store import claims
from fmx_store.database import Database
from fmx_store.settings import Settings

ROOT = Path(__file__).parents[1]

FEW, MANY = 100, 100_000  # jobs
MANY_METRICS = 1_000_000
CONNECTIONS = 32
LOAD_SECONDS = 1.2

REQUEST = {"kind": "q1", "preset": "quick"}


@dataclass(frozen=True)
class Server:
    """A server process and the record behind it."""

    url: str
    db: Database
    record: BigRecord

    def get(self, path: str, *, status: int = 200, **headers: str) -> Load:
        """Many connections that ask for the same."""
        request = make_request(self.url + path, headers=headers)
        return self._load(request, status, CONNECTIONS)

    def submit(self, connections: int = CONNECTIONS) -> Load:
        """Many connections that submit jobs."""
        return self._load(make_request(f"{self.url}/v1/jobs", json_body=REQUEST), 202, connections)

    def _load(self, request: bytes, status: int, connections: int) -> Load:
        return load(self.url, request, status=status, connections=connections, seconds=LOAD_SECONDS)

    def ask(self, path: str) -> Load:
        """One connection that asks for the same a few times."""
        request = make_request(self.url + path)
        return load(self.url, request, status=200, connections=1, seconds=LOAD_SECONDS / 2)


def measure(rounds: int) -> list[Row]:
    """All rows: each beside its like, taken in turn."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _serve(Path(folder, "few"), FEW, 0) as few,
        _serve(Path(folder, "many"), MANY, MANY_METRICS) as many,
    ):
        return [
            *_measure_rates(few, many, rounds),
            *_measure_reads(few, many, rounds),
            _measure_claims(few, many, rounds),
        ]


def _measure_rates(few: Server, many: Server, rounds: int) -> list[Row]:
    job = f"/v1/jobs/{few.record.job_id}"
    etag = f'"{few.record.job_id}-1"'
    calls: dict[str, Callable[[], Load]] = {
        "empty": lambda: few.get("/healthz"),
        "poll": lambda: few.get(job),
        "unchanged": lambda: few.get(job, status=304, **{"If-None-Match": etag}),
        "poll among many": lambda: many.get(f"/v1/jobs/{many.record.job_id}"),
        "submit": few.submit,
        "submit one by one": lambda: few.submit(connections=1),
        "submit among many": many.submit,
    }
    taken = _in_turn(calls, rounds)
    rates = {name: [one.rate for one in loads] for name, loads in taken.items()}
    p99 = {name: [one.percentile_ms(99) for one in loads] for name, loads in taken.items()}
    alone, crowd = "other: one connection", f"{CONNECTIONS} connections"
    among = f"among {MANY:,} jobs; other: among {FEW}"
    empty = "other: GET /healthz"
    return [
        _row("submissions_per_second", "1/s", rates["submit"], rates["submit one by one"], alone),
        _row("submission_p99_ms", "ms", p99["submit"], p99["submit one by one"], alone),
        _row("polls_per_second", "1/s", rates["poll"], rates["empty"], empty),
        _row("poll_p99_ms", "ms", p99["poll"], p99["empty"], f"{crowd}; {empty}"),
        _row("unchanged_polls_per_second", "1/s", rates["unchanged"], rates["empty"], empty),
        _row("polls_per_second_100k", "1/s", rates["poll among many"], rates["poll"], among),
        _row(
            "submissions_per_second_100k", "1/s", rates["submit among many"], rates["submit"], among
        ),
    ]


def _measure_reads(few: Server, many: Server, rounds: int) -> list[Row]:
    """What one user asks for, one request after another."""
    paths: dict[str, Callable[[BigRecord], str]] = {
        "list_100k_p99_ms": lambda _: "/v1/jobs?limit=50",
        "list_tag_100k_p99_ms": lambda _: "/v1/jobs?limit=50&tag=common",
        "list_state_100k_p99_ms": lambda _: "/v1/jobs?limit=50&state=succeeded",
        "metrics_10k_epochs_p99_ms": lambda r: f"/v1/runs/{r.run_id}/metrics",
        "artifacts_1k_files_p99_ms": lambda r: f"/v1/jobs/{r.job_id}/artifacts?limit=50",
    }
    rows: list[Row] = []
    for name, path in paths.items():
        taken = _in_turn(
            {
                "many": lambda path=path: many.ask(path(many.record)),
                "few": lambda path=path: few.ask(path(few.record)),
            },
            rounds,
        )
        ours, other = ([one.percentile_ms(99) for one in taken[key]] for key in ("many", "few"))
        rows.append(_row(name, "ms", ours, other, f"of {MANY:,} jobs; other: of few"))
    return rows


def _measure_claims(few: Server, many: Server, rounds: int) -> Row:
    def claim(server: Server) -> float:
        return 1000 * statistics.median(
            seconds_of(lambda: claims.claim(server.db, "a worker", ["auto"])) for _ in range(5)
        )

    pairs = [(claim(many), claim(few)) for _ in range(rounds)]
    ours, other = [a for a, _ in pairs], [b for _, b in pairs]
    return _row("claim_100k_ms", "ms", ours, other, f"of {MANY:,} jobs; other: of few")


def _in_turn(calls: dict[str, Callable[[], Load]], rounds: int) -> dict[str, list[Load]]:
    """What each call gives, in each round; a first round is not counted."""
    for call in calls.values():
        call()
    taken: dict[str, list[Load]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(call())
    return taken


def _row(name: str, unit: Unit, ours: Sequence[float], other: Sequence[float], note: str) -> Row:
    mine = statistics.median(ours)
    return Row(
        name=name,
        value=mine,
        unit=unit,
        spread=(min(ours), max(ours)),
        ours=mine,
        other=statistics.median(other),
        note=note,
    )


@contextmanager
def _serve(folder: Path, num_jobs: int, num_metrics: int) -> Generator[Server]:
    """A server with a record of so many jobs."""
    settings = Settings(data_dir=folder, port=0)
    environment = {**os.environ, "FMX_DATA_DIR": str(folder), "FMX_PORT": "0"}
    environment |= {"FMX_LOG_LEVEL": "WARNING", "PYTHONPATH": str(ROOT)}
    upgrade = [sys.executable, "-m", "migrations", "upgrade"]
    subprocess.run(upgrade, env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    db = Database(settings.database)
    record = fill(db, num_jobs, num_metrics)
    process = subprocess.Popen(
        [sys.executable, "-m", "api"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Server(process.stdout.readline().split()[-1], db, record)
    finally:
        db.close()
        process.terminate()
        process.communicate()
