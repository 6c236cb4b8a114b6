"""How many claims and heartbeats a record takes: `python -m benchmarks.claims [--seconds S]`.

Each claimer is a process with a connection of its own, as a worker is, on a PostgreSQL that writes
through to its disk, or with `--sqlite` on a file. All share this machine with the database.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from sqlalchemy import text

from benchmarks.big_record import fill
from benchmarks.postgres import cpu_seconds, run_postgres
from fmx_store import claims
from fmx_store.database import Database
from fmx_store.maintenance import find_waiting
from fmx_store.settings import Settings
from migrations import commands

NUM_JOBS = 100_000  # of which each tenth is due
CLAIMERS = (1, 2, 4, 8, 16, 32, 64)
START_SECONDS = 1.0  # until every process stands ready
ACTIVE = 1000  # runs under way, whose heartbeats every server and worker reads
LOOKS = 20


@dataclass(frozen=True)
class Taken:
    """What a process has done: the seconds of each repetition, and its own processor time."""

    seconds: list[float]
    cpu_seconds: float


@dataclass(frozen=True)
class Order:
    """What one process does: the same again and again, from a moment on, for a while."""

    url: str
    number: int
    start_at: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--claimers", type=_numbers, default=list(CLAIMERS), metavar="N,N")
    parser.add_argument("--jobs", type=int, default=NUM_JOBS)
    parser.add_argument("--sqlite", action="store_true")
    asked = parser.parse_args(arguments)
    with make_record(asked.jobs, sqlite=asked.sqlite) as url:
        for name, repeat in (("claims", claim_on), ("heartbeats", beat_on)):
            for number in asked.claimers:
                before = read_cpu(url)
                taken = measure(repeat, url, number, asked.seconds)
                print(describe(f"{name} by {number}", taken, read_cpu(url) - before), flush=True)
        for name, seconds in measure_looks(url).items():
            print(f"{name}: {1000 * seconds:.2f} ms", flush=True)
    return 0


def _numbers(given: str) -> list[int]:
    return [int(number) for number in given.split(",")]


@contextmanager
def make_record(num_jobs: int, *, sqlite: bool) -> Generator[str]:
    """The URL of a record with many jobs, each tenth of which is due."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fmx-claims-")))
        server = "" if sqlite else stack.enter_context(run_postgres())
        url = Settings(data_dir=folder, database_url=server).database
        commands.upgrade(url)
        db = Database(url)
        fill(db, num_jobs, 0)
        db.close()
        yield url


def measure(repeat: Callable[[Order], Taken], url: str, number: int, seconds: float) -> list[Taken]:
    """What each of so many processes has done."""
    with ProcessPoolExecutor(number, mp_context=get_context("spawn")) as pool:
        list(pool.map(_stand_ready, [url] * number))
        start_at = time.time() + START_SECONDS
        return list(pool.map(repeat, [Order(url, n, start_at, seconds) for n in range(number)]))


def _stand_ready(_url: str) -> None:
    """Imports everything, and takes long enough that every process gets one of these."""
    time.sleep(0.5)


def claim_on(order: Order) -> Taken:
    """Claims run after run, as a worker does whose trainings take no time."""
    return _repeat(order, lambda db: claims.claim(db, f"claimer {order.number}", ["auto", "cpu"]))


def beat_on(order: Order) -> Taken:
    """Renews one lease again and again."""
    db = Database(order.url)
    claimed = claims.claim(db, f"beater {order.number}", ["auto", "cpu"])
    db.close()
    if claimed is None:
        raise RuntimeError("the record has no due runs left: give it more jobs")
    return _repeat(order, lambda db: claims.beat(db, claimed.lease))


def _repeat(order: Order, action: Callable[[Database], object]) -> Taken:
    db = Database(order.url)
    taken: list[float] = []
    time.sleep(max(0.0, order.start_at - time.time()))
    used = time.process_time()
    deadline = time.monotonic() + order.seconds
    while (began := time.monotonic()) < deadline:
        if action(db) is None:
            raise RuntimeError("the record has no due runs left: give it more jobs")
        taken.append(time.monotonic() - began)
    used = time.process_time() - used
    db.close()
    return Taken(taken, used)


def read_cpu(url: str) -> float:
    """The database's processor time, where it has processes of its own."""
    return cpu_seconds(url) if url.startswith("postgresql") else 0.0


def describe(name: str, taken: Sequence[Taken], database_seconds: float) -> str:
    """One line: how often, how long, and how much of a processor on both sides each time."""
    every = sorted(seconds for each in taken for seconds in each.seconds)
    longest = max(sum(each.seconds) for each in taken)
    p99 = every[min(len(every) - 1, int(len(every) * 0.99))]
    ours = sum(each.cpu_seconds for each in taken)
    return (
        f"{name}: {len(every) / longest:.0f}/s, median {1000 * statistics.median(every):.1f} ms, "
        f"p99 {1000 * p99:.1f} ms; CPU {1000 * ours / len(every):.2f} ms, "
        f"of the database {1000 * database_seconds / len(every):.2f} ms"
    )


def measure_looks(url: str) -> dict[str, float]:
    """What each server and worker reads each second, where many runs are under way."""
    db = Database(url)
    with db.write() as session:
        ids = f"SELECT id FROM run WHERE state = 'queued' AND waiting_for = 0 LIMIT {ACTIVE}"  # noqa: S608 - a number
        session.connection().execute(
            text(f"UPDATE run SET state = 'running', attempt = 1 WHERE id IN ({ids})")  # noqa: S608 - ours
        )
        session.connection().execute(text("UPDATE run SET rung_at = created_at"))
    num_active = len(claims.active(db))
    looks: dict[str, Callable[[], object]] = {
        f"a look at {num_active} runs under way": lambda: claims.active(db),
        "a look for runs to announce, none": lambda: find_waiting(db, 1e9),
    }
    taken = {
        name: statistics.median(_time(look) for _ in range(LOOKS)) for name, look in looks.items()
    }
    db.close()
    return taken


def _time(look: Callable[[], object]) -> float:
    began = time.monotonic()
    look()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
