"""python -m fmx_client.reproduction: the whole report, by a server and worker of its own.

Finished runs are kept in the data folder and taken over the next time, so a reproduction that was
interrupted goes on where it was.

Exit status: 0 all went well, 1 something failed, 2 wrong usage, 130 interrupted.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, get_args

from rich.console import Console

from fmx_client.calls import ReportForm
from fmx_client.client import Client
from fmx_client.demo.data import DataSearch
from fmx_client.demo.server import Server, ServerStartError, log_tail
from fmx_client.errors import FmxClientError
from fmx_client.reproduction.board import Board
from fmx_client.terminal.text import duration, make_console, plain
from fmx_client.types import Job
from fmx_ml.requests import KINDS
from fmx_ml.specs import Preset

FAILED, INTERRUPTED = 1, 130

_LONGEST = "q3"  # its one long training begins first, so that nothing waits for it at the end
_CANCEL_SECONDS = 8.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the reproduction; gives back the exit status."""
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    console = make_console()
    try:
        return _run(options, console)
    except KeyboardInterrupt:
        _say(console, "interrupted; finished runs are kept, and the next time goes on from there")
        return INTERRUPTED


def _run(options: argparse.Namespace, console: Console) -> int:
    began_at = time.monotonic()
    data_dir = Path(os.environ.get("FMX_DATA_DIR") or ".fmx").absolute()
    log = data_dir / "report.log"
    decision = DataSearch(data_dir / "cache", lambda said: _say(console, said)).decide()
    _say(console, f"data: {decision.dataset}; log: {log}")
    try:
        with (
            Server(data_dir, log, environment=_settings()) as server,
            Client(server.wait_until_ready()) as client,
        ):
            jobs = _reproduce(client, options, decision.dataset, console)
            succeeded = _write(client, jobs, options.out, console)
        if not succeeded:
            _say(console, f"the end of {log}:\n{log_tail(log)}")
    except (ServerStartError, FmxClientError, OSError) as error:
        _say(console, str(error))
        return FAILED
    _say(console, f"done after {duration(time.monotonic() - began_at)}")
    return 0 if succeeded else FAILED


def _settings() -> dict[str, str]:
    """As many trainings at a time as there are cores, one thread each, if nothing else is set."""
    cores = str(len(os.sched_getaffinity(0)))
    settings = {"FMX_WORKER_CONCURRENCY": cores, "FMX_WORKER_THREADS": "1"}
    return {name: os.environ.get(name) or value for name, value in settings.items()}


def _reproduce(
    client: Client, options: argparse.Namespace, dataset: str, console: Console
) -> list[Job]:
    """Submits every question and waits until all have ended."""
    jobs: list[Job] = []
    spec: dict[str, Any] = {"dataset": dataset, "seeds": options.seeds}
    for kind in options.kinds:
        job = client.submit(
            kind,
            preset=options.preset,
            tags=["report"],
            priority=6 if kind == _LONGEST else 5,
            reuse=True,
            spec=spec,
        )
        jobs.append(job)
        _say(console, f"{kind}: job {job.id}, {job.runs.total} runs")
    try:
        return Board(console).follow(client, [job.id for job in jobs])
    except BaseException:
        _withdraw(client, jobs)
        raise


def _write(client: Client, jobs: Sequence[Job], out: Path, console: Console) -> bool:
    """Writes the report of the jobs that have results; whether all have succeeded."""
    told = [job for job in jobs if job.state == "succeeded"]
    for job in jobs:
        if job.state != "succeeded":
            said = job.error.message if job.error else job.reason
            _say(console, f"{job.kind} {job.state}: {said}")
    if told:
        out.mkdir(parents=True, exist_ok=True)
        for form in get_args(ReportForm):
            file = out / f"report.{form}"
            file.write_bytes(client.report([job.id for job in told], form=form))
            _say(console, str(file))
    return len(told) == len(jobs)


def _withdraw(client: Client, jobs: Sequence[Job]) -> None:
    """Cancels the jobs, so that the next server on this data folder does not go on with them."""
    with suppress(FmxClientError):
        for job in jobs:
            with suppress(FmxClientError):
                client.cancel(job.id)
        for job in jobs:
            client.wait(job.id, timeout_seconds=_CANCEL_SECONDS, patience_seconds=0)


def _say(console: Console, said: str) -> None:
    console.print(plain(said), soft_wrap=True, markup=False)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fmx_client.reproduction", description=__doc__)
    parser.add_argument(
        "--preset",
        choices=get_args(Preset),
        default="report",
        help="report: as published (an hour or more); quick: a smoke version (minutes)",
    )
    parser.add_argument(
        "--seeds", type=_seeds, default=[0], metavar="N,N", help="seeds of every question [0]"
    )
    parser.add_argument(
        "--kinds", type=_kinds, default=list(KINDS), metavar="K,K", help="which questions [all]"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/report"), help="folder for the report [out/report]"
    )
    return parser.parse_args(arguments)


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if unknown := set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"no such kind: {', '.join(sorted(unknown))}")
    return kinds


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Leaves through every `finally`, so that nothing is left running."""
    del frame
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
