"""Several jobs at once while they run: a table on a terminal, lines anywhere else."""

import time
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fmx_client.client import Client
from fmx_client.terminal.text import duration, plain, state
from fmx_client.types import Job

_LOOK_SECONDS = 2.0
_LINE_SECONDS = 60.0  # between two lines of the same job while it runs


class Board:
    """Shows jobs until all have ended."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown yet."""
        self._console = console
        self._told: dict[str, tuple[str, float]] = {}

    def follow(self, client: Client, job_ids: Sequence[str]) -> list[Job]:
        """The jobs when all have ended."""
        draws = self._console.is_terminal and not self._console.is_dumb_terminal
        jobs = [client.job(job_id) for job_id in job_ids]
        with Live(console=self._console, auto_refresh=False) if draws else _Lines() as live:
            while True:
                if isinstance(live, Live):
                    live.update(tabulate(jobs), refresh=True)
                else:
                    self._tell(jobs)
                if all(job.ended for job in jobs):
                    return jobs
                time.sleep(_LOOK_SECONDS)
                jobs = [job if job.ended else client.job(job.id) for job in jobs]

    def _tell(self, jobs: Sequence[Job]) -> None:
        """A line for each job whose state has changed, or that was silent for long."""
        for job in jobs:
            said, at = self._told.get(job.id, ("", 0.0))
            silent = time.monotonic() - at > _LINE_SECONDS and job.state == "running"
            if said != job.state or silent:
                self._told[job.id] = (job.state, time.monotonic())
                self._console.print(_line(job), soft_wrap=True, markup=False)


class _Lines:
    """Where no table is drawn."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def tabulate(jobs: Sequence[Job]) -> Table:
    """A row a job: state, how far it is, its runs, the time that is left at most."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("kind", "state", "epochs", "", "runs", "left at most"):
        table.add_column(heading)
    for job in jobs:
        progress = job.progress
        table.add_row(
            job.kind,
            state(job.state),
            f"{progress.completed} of {progress.total}",
            ProgressBar(total=max(1, progress.total), completed=progress.completed, width=24),
            _say_runs(job),
            duration(progress.eta_seconds) if job.state == "running" else "",
        )
    return table


def _line(job: Job) -> Text:
    parts = [job.kind, plain(job.state), _say_runs(job)]
    if job.state == "running":
        parts.append(f"epoch {job.progress.completed} of {job.progress.total} at most")
    if job.error is not None and job.error.message:
        parts.append(plain(job.error.message))
    return Text("  ".join(parts))


def _say_runs(job: Job) -> str:
    failed = f", {job.runs.failed} failed" if job.runs.failed else ""
    return f"{job.runs.succeeded} of {job.runs.total} runs{failed}"
