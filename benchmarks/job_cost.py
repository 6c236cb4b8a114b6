"""What one job costs server, database, broker and store: `python -m benchmarks.job_cost`.

A server and a worker on PostgreSQL and Redis train small jobs one after another, as a client does
that submits, waits by long polls and reads the results; counters are read before and after.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import text

from benchmarks.postgres import cpu_seconds, run_postgres
from benchmarks.served import run_redis, serve, submit, wait_for_end
from fmx_store.database import Database
from fmx_store.settings import Settings

SMALL = {"dataset": "synthetic", "batch_size": 1000}
IDLE_SECONDS = 20.0
TABLES = ("job", "run", "run_need", "event", "metric", "artifact", "blob", "model", "pin")
_TICKS = os.sysconf("SC_CLK_TCK")
_STATEMENTS = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query !~ 'pg_stat'"
_SIZE = "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_stat_user_tables"
_LOG = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"


@dataclass
class Counters:
    """What has been counted so far; a difference of two is what lies between."""

    counts: dict[str, float] = field(default_factory=dict[str, float])

    def per(self, before: "Counters", number: float) -> dict[str, float]:
        """The difference to an earlier reading, divided."""
        return {name: (now - before.counts[name]) / number for name, now in self.counts.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints what a job costs, and what a second costs in which nothing is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.job_cost", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5)
    asked = parser.parse_args(arguments)
    with ExitStack() as stack:
        database_url = stack.enter_context(run_postgres())
        broker_url = stack.enter_context(run_redis())
        if broker_url is None:
            raise FileNotFoundError("redis-server is not installed")
        settings = Settings(database_url=database_url, broker_url=broker_url)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fmx-cost-"))
        storage = Path(folder, "store")
        client, _ = stack.enter_context(
            serve(
                database_url=database_url,
                broker_url=broker_url,
                storage_url=storage.as_uri(),
                worker_threads=1,
            )
        )
        meter = Meter(settings, storage)
        run_job(client, asked.epochs)  # libraries, the kernel, the model's session
        before = meter.read()
        time.sleep(IDLE_SECONDS)
        show("a second in which nothing is done", meter.read().per(before, IDLE_SECONDS))
        before = meter.read()
        for _ in range(asked.jobs):
            run_job(client, asked.epochs)
        show(f"a job of one run of {asked.epochs} epochs", meter.read().per(before, asked.jobs))
        meter.close()
    return 0


def run_job(client: httpx.Client, epochs: int) -> None:
    """All that a client usually asks for a job."""
    job_id, _ = submit(client, spec={**SMALL, "max_epochs": epochs})
    wait_for_end(client, job_id)
    for path in ("runs", "results", "artifacts"):
        client.get(f"/v1/jobs/{job_id}/{path}").raise_for_status()


class Meter:
    """Reads the counters of processes, database, broker and store."""

    def __init__(self, settings: Settings, storage: Path) -> None:
        """Connects; the database must know pg_stat_statements."""
        self._db = Database(settings.database)
        self._redis = redis.Redis.from_url(settings.broker_url)
        self._storage = storage
        self._url = settings.database_url
        with self._db.write() as session:
            session.connection().execute(text("CREATE EXTENSION IF NOT EXISTS pg_stat_statements"))

    def read(self) -> Counters:
        """All counters as they are now."""
        commands: Any = self._redis.info("commandstats")
        calls = {name: each["calls"] for name, each in commands.items()}
        counts = {
            "server CPU ms": cpu_milliseconds("api", self._url),
            "worker CPU ms, without training": cpu_milliseconds("worker", self._url),
            "database CPU ms": 1000 * cpu_seconds(self._url),
            "trainer CPU ms": cpu_milliseconds("worker.trainer", None),
            "broker messages": calls.get("cmdstat_lpush", 0),
            "broker commands": sum(calls.values()),
            **self._read_store(),
        }
        with self._db.look() as connection:
            for name, query in (("statements", _STATEMENTS), ("log bytes", _LOG), ("bytes", _SIZE)):
                counts[f"database {name}"] = float(connection.execute(text(query)).scalar_one())
            for table in TABLES:
                query = f"SELECT count(*) FROM {table}"  # noqa: S608 - ours
                counts[f"rows of {table}"] = float(connection.execute(text(query)).scalar_one())
        return Counters(counts)

    def _read_store(self) -> dict[str, float]:
        files = [path for path in self._storage.rglob("*") if path.is_file()]
        return {"stored files": len(files), "stored bytes": sum(f.stat().st_size for f in files)}

    def close(self) -> None:
        """Closes the connections."""
        self._db.close()
        self._redis.close()


def cpu_milliseconds(module: str, database_url: str | None) -> float:
    """What the processes of a module have used of processors, those that have ended too.

    Of those that know the database, where one is named: a trainer is not told of it.
    """
    ticks = 0
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes()
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        is_ours = database_url is None or database_url.encode() in environment
        if command[1:3] == [b"-m", module.encode()] and is_ours:
            ticks += int(fields[11]) + int(fields[12])
    return 1000 * ticks / _TICKS


def show(title: str, counts: dict[str, float]) -> None:
    """A table of what was counted."""
    print(f"\n{title}")
    for name, count in counts.items():
        print(f"  {name:<34}{count:>12,.2f}")


if __name__ == "__main__":
    sys.exit(main())
