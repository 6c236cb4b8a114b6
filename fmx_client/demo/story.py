"""What the demo does with a server, and how it tells it."""

from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fmx_client.client import Client
from fmx_client.demo.data import Decision, first_pictures
from fmx_client.downloads import place_in
from fmx_client.errors import FmxClientError
from fmx_client.terminal import views
from fmx_client.terminal.live import Progress
from fmx_client.terminal.pictures import draw_row
from fmx_client.terminal.results import name_figure, name_files, show_comparisons, warn_of
from fmx_client.terminal.text import REAL_DATASET, duration, plain
from fmx_client.types import Job, Prediction, ResultsBody

_WHAT = (
    "Q1 of the report: a convolutional network with two convolutions and two dense layers learns "
    "to tell five classes of Fashion-MNIST apart. A server takes the job over HTTP, a worker "
    "trains it, and the model that is left answers predictions."
)
_LABEL_WIDTH = 8
_SHOWN_ROWS = 5
_CANCEL_SECONDS = 8.0


class Story:
    """Tells a person what happens."""

    def __init__(self, console: Console, preset: str, out: Path) -> None:
        """Nothing is told yet."""
        self._console, self._preset, self._out = console, preset, out
        self.progress = Progress(console)

    def begin(self) -> None:
        """Says what this is."""
        panel = Panel(Text(_WHAT), title="fmx demo", box=box.ROUNDED, width=self._width)
        self._console.print(panel)

    @property
    def _width(self) -> int:
        return min(self._console.width, 88)

    def _print(self, shown: RenderableType) -> None:
        self._console.print(shown, soft_wrap=not self._console.is_terminal)

    def _fact(self, name: str, said: str) -> None:
        label = Text(f"{name:{_LABEL_WIDTH}}", style="bold")
        self._print(Text.assemble(label, plain(said)))

    def tell(self, said: str) -> None:
        """A line about something on its way."""
        self._print(Text(f"{'':{_LABEL_WIDTH}}{plain(said)}", style="dim"))

    def complain(self, said: str) -> None:
        """Says what went wrong."""
        self._print(Text(f"\n{plain(said)}", style="red"))

    def busy(self, doing: str) -> AbstractContextManager[Any]:
        """A spinner for as long as something takes; a line where there is no terminal."""
        if not self._console.is_terminal:
            self.tell(doing)
        return self._console.status(doing)

    def data(self, decision: Decision) -> None:
        """Which data set it will be; loudly, if not the real one."""
        if decision.is_real:
            self._fact("Data", f"Fashion-MNIST from {decision.source}, checksums verified")
            return
        reasons = [f"• {plain(problem)}" for problem in decision.problems]
        text = "\n".join(
            [
                "Fashion-MNIST can't be had on this machine, so the demo goes on with SYNTHETIC",
                "pictures. No figure below says anything about Fashion-MNIST.",
                "",
                *reasons,
            ]
        )
        title = Text(" WARNING: NOT THE REAL DATA ", style="bold white on red")
        panel = Panel(Text(text), title=title, border_style="red", box=box.HEAVY, width=self._width)
        self._console.print(panel)

    def server(self, url: str, log: Path) -> None:
        """Where the server is."""
        self._fact("Server", f"{url}, log in {_short(log)}")

    def run_job(self, client: Client, decision: Decision, cache_dir: Path) -> bool:
        """Submits, watches, shows what came out; whether the job succeeded."""
        spec = {"dataset": decision.dataset}
        job = client.submit("q1", preset=self._preset, tags=["demo"], priority=9, spec=spec)
        self._fact("Job", f"{job.id}: q1, preset {job.preset}, {job.progress.total} epochs at most")
        self._console.print()
        try:
            job = self.progress.follow(client, job.id)
        except BaseException:
            _withdraw(client, job)
            raise
        self._console.print()
        if job.state != "succeeded":
            said = job.error.message if job.error else job.reason
            self.complain(f"the job {job.state}: {said}")
            return False
        self.show(client, job, decision, cache_dir)
        return True

    def show(self, client: Client, job: Job, decision: Decision, cache_dir: Path) -> None:
        """What a job that succeeded has left: accuracies, predictions, figures."""
        body = client.results(job.id)
        self._accuracies(body)
        self._predictions(client, job, decision, cache_dir)
        self._figures(client, body)

    def _accuracies(self, body: ResultsBody) -> None:
        self._print(show_comparisons(body))
        if body.dataset != REAL_DATASET:
            self._print(warn_of(body.dataset))
        self._console.print()

    def _predictions(self, client: Client, job: Job, decision: Decision, cache_dir: Path) -> None:
        pictures = first_pictures(decision.dataset, cache_dir)
        rows = [int(picture["row"]) for picture in pictures] or list(range(_SHOWN_ROWS))
        answers = client.predict(job.models[0], test_rows=rows).predictions
        title = f"Predictions of test pictures by model {job.models[0]}"
        title += "" if decision.is_real else f" (dataset: {decision.dataset})"
        self._print(Text(title, style="bold"))
        if self._console.is_terminal and pictures:
            pairs = zip(pictures, answers, strict=True)
            shown = [(picture["pixels"], _verdict(answer)) for picture, answer in pairs]
            self._console.print(draw_row(shown, self._console.width))
        else:
            self._print(views.predictions(answers, [f"test row {row}" for row in rows]))
        self._console.print()

    def _figures(self, client: Client, body: ResultsBody) -> None:
        """Downloads the figures and their numbers, and names the files."""
        table = Table.grid(padding=(0, 2))
        for figure in body.figures:
            for path in figure.artifacts:
                client.download(body.job, path, place_in(self._out, path))
            names = Text(plain(name_files(figure.artifacts)), style="cyan", overflow="fold")
            table.add_row(names, Text(name_figure(figure)))
        self._print(Text(f"Figures and their numbers, in {_short(self._out)}/", style="bold"))
        self._print(table)

    def end(self, seconds: float) -> None:
        """Says that it is over, and what could come next."""
        self._console.print()
        self._fact("Done", f"after {duration(seconds)}; server and worker were stopped")
        self._fact("Next", "make serve, then: .venv/bin/fmx submit q1 --preset quick --watch")


def _withdraw(client: Client, job: Job) -> None:
    """Cancels the job, so that the next server on this data folder does not go on with it."""
    with suppress(FmxClientError):
        client.cancel(job.id)
        client.wait(job.id, timeout_seconds=_CANCEL_SECONDS, patience_seconds=0)


def _short(path: Path) -> str:
    """A path as a person here would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _verdict(prediction: Prediction) -> Text:
    """What stands below a picture: the label, how sure, and the truth where that is another."""
    right = prediction.label == prediction.actual
    text = Text(plain(prediction.label), style="bold green" if right else "bold red")
    text.append(f"\n{prediction.probability:.4f}", style="not bold default")
    if not right and prediction.actual is not None:
        text.append(f"\nis: {plain(prediction.actual)}", style="not bold default")
    return text
