"""A job's progress while it runs: a bar on a terminal, lines anywhere else."""

import math
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fmx_client.client import Client
from fmx_client.errors import FmxClientError
from fmx_client.terminal.curves import Curves
from fmx_client.terminal.text import REAL_DATASET, STATE_STYLES, duration, number, plain, state
from fmx_client.types import Epoch, Job, Run

_PHASES = {
    "queued": "waiting for a worker",
    "starting": "starting",
    "data": "reading the pictures",
    "evaluation": "evaluating",
    "export": "exporting the model",
    "collating": "making tables and figures",
}
_MARKS = {"succeeded": "✔", "failed": "✘", "cancelled": "■"}
_SHOWN_RUNS = 4
_LAST_EVENTS_SECONDS = 2.0  # for the last points of curves, after a job's end
_LINES = 15  # about so many lines for a whole training
_SILENCE_SECONDS = 30.0  # after which a line is printed although few epochs have passed


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment, and the last epoch of each run that is being trained."""

    job: Job
    runs: tuple[tuple[Run, Epoch | None], ...] = ()
    seen_at: float = field(default_factory=time.monotonic)

    def left_seconds(self) -> float | None:
        """What is left by now of the time that was estimated then."""
        eta = self.job.progress.eta_seconds
        return None if eta is None else max(0.0, eta - (time.monotonic() - self.seen_at))


def snapshots(client: Client, job_id: str) -> Iterator[Snapshot]:
    """The job whenever it has changed, until it has ended."""
    last: tuple[tuple[Run, Epoch | None], ...] = ()
    for job in client.watch(job_id):
        if job.runs.running:
            active = [run for run in client.runs(job.id) if run.state == "running"][:_SHOWN_RUNS]
            last = tuple((run, _last_epoch(client, run)) for run in active)
        yield Snapshot(job, last)


def _last_epoch(client: Client, run: Run) -> Epoch | None:
    epochs = client.metrics(run.id, max_points=1).epochs()
    return epochs[-1] if epochs else None


class Progress:
    """Shows a job's progress on a console."""

    def __init__(self, console: Console, *, with_curves: bool = False) -> None:
        """Nothing is shown yet; curves are drawn on a terminal alone."""
        self._console = console
        self._curves = Curves() if with_curves and _draws(console) else None
        self._shown: Snapshot | None = None
        self._trouble: str | None = None
        self._spinner = Spinner("dots", style="cyan")

    def trouble(self, error: FmxClientError, pause_seconds: float) -> None:
        """Says that the server does not answer; made to be a client's `on_retry`."""
        del pause_seconds
        if self._trouble is None and self._shown is not None and not _draws(self._console):
            self._console.print(_trouble(str(error)))
        self._trouble = str(error)

    def follow(self, client: Client, job_id: str) -> Job:
        """Shows the job until it has ended, and returns it."""
        marks = _Marks()
        with self._live() as live, self._drawing(client, job_id):
            for self._shown in snapshots(client, job_id):
                self._trouble = None
                if live is None and marks.passed(self._shown):
                    self._console.print(_line(self._shown), soft_wrap=True)
            assert self._shown is not None  # noqa: S101 - a watched job is seen once at least
        return self._shown.job

    @contextmanager
    def _live(self) -> Generator[Live | None]:
        if not _draws(self._console):
            yield None
            return
        with Live(console=self._console, get_renderable=self._render, refresh_per_second=8) as live:
            yield live

    @contextmanager
    def _drawing(self, client: Client, job_id: str) -> Generator[None]:
        """Feeds the curves meanwhile, in a thread of its own."""
        if self._curves is None:
            yield
            return
        follow = self._curves.follow
        thread = threading.Thread(target=follow, args=(client, job_id), daemon=True)
        thread.start()
        yield
        thread.join(timeout=_LAST_EVENTS_SECONDS)

    def _render(self) -> RenderableType:
        shown = self._shown
        if shown is None:
            return Text("")
        parts = [_head(shown.job, self._spinner), _bar(shown)]
        if self._curves is not None:
            parts += [_counts(shown.job), self._curves]
        elif shown.runs:
            parts.append(_figures(shown))
        if self._trouble is not None and not shown.job.ended:
            parts.append(_trouble(self._trouble))
        return Group(*parts)


def _draws(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _trouble(said: str) -> Text:
    return Text(f"{plain(said)}: trying again", style="yellow")


def _title(job: Job) -> str:
    name = f" “{job.name}”" if job.name else ""
    dataset = job.spec.get("dataset", REAL_DATASET)
    data = "" if dataset == REAL_DATASET else f" ({dataset} data)"
    return plain(f"{job.kind} {job.preset}{name}{data}")


def _doing(job: Job) -> Text:
    """What the job does now, or how it ended."""
    if not job.ended:
        phase = job.progress.phase
        return Text(_PHASES.get(phase, plain(phase)))
    text = state(job.state)
    if job.started_at is not None and job.finished_at is not None:
        took = (job.finished_at - job.started_at).total_seconds()
        text.append(f" after {duration(took)}")
    return text


def _head(job: Job, spinner: Spinner) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    mark = Text(_MARKS[job.state], style=STATE_STYLES[job.state]) if job.ended else spinner
    grid.add_row(mark, Text(_title(job), style="bold"), Text(job.id, style="dim"), _doing(job))
    return grid


def _bar(shown: Snapshot) -> RenderableType:
    progress = shown.job.progress
    style = STATE_STYLES.get(shown.job.state, "cyan")
    bar = ProgressBar(
        total=max(progress.total, 1),
        completed=progress.completed,
        width=36,
        complete_style=style,
        finished_style=style,
    )
    grid = Table.grid(padding=(0, 2))
    left = shown.left_seconds()
    time_left = "" if left is None or shown.job.ended else f"{duration(left)} left"
    grid.add_row("", bar, Text(_epochs(shown.job)), Text(time_left, style="cyan"))
    return grid


def _epochs(job: Job) -> str:
    return f"{plain(job.progress.unit)} {job.progress.completed} of {job.progress.total}"


def _counts(job: Job) -> RenderableType:
    """How many of the runs are in each state."""
    text = Text("  ")
    for name, style in STATE_STYLES.items():
        if count := getattr(job.runs, name):
            text.append(f"{count} {name}  ", style=style)
    return text


def _figures(shown: Snapshot) -> RenderableType:
    columns = ("run", "epoch", "train loss", "val loss", "train accuracy", "val accuracy")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="left" if name == "run" else "right")
    for run, epoch in shown.runs:
        if epoch is not None:
            losses = number(epoch.train_loss), number(epoch.val_loss)
            accuracies = number(epoch.train_accuracy), number(epoch.val_accuracy)
            table.add_row("", Text(plain(run.name)), str(epoch.epoch), *losses, *accuracies)
    return table if table.row_count else Text("")


class _Marks:
    """Which moments of a job are worth a line: a new phase, a few epochs more, a long silence."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._phase, self._completed, self._at = "", 0, 0.0

    def passed(self, shown: Snapshot) -> bool:
        """Whether this is such a moment; if so, the next one is counted from here."""
        progress, now = shown.job.progress, time.monotonic()
        new = progress.completed - self._completed
        step = max(1, math.ceil(progress.total / _LINES))
        silent = now - self._at > _SILENCE_SECONDS
        if progress.phase == self._phase and new < step and not (silent and new > 0):
            return False
        self._phase, self._completed, self._at = progress.phase, progress.completed, now
        return True


def _line(shown: Snapshot) -> Text:
    job = shown.job
    text = Text(f"{_title(job)}  ").append_text(_doing(job))
    if job.ended:
        return text
    text.append(f"  {_epochs(job)}")
    for run, epoch in shown.runs:
        if epoch is not None and job.progress.phase == "training":
            name = f"  {plain(run.name)}:" if len(shown.runs) > 1 else " "
            text.append(f"{name} loss {number(epoch.train_loss)} / {number(epoch.val_loss)}")
            text.append(
                f"  accuracy {number(epoch.train_accuracy)} / {number(epoch.val_accuracy)}"
                "  (train / validation)"
            )
    left = shown.left_seconds()
    return text.append(f"  {duration(left)} left") if left else text
