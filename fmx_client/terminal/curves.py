"""Curves of a job's runs in a terminal: losses and accuracies as they come."""

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from fmx_client.client import Client
from fmx_client.errors import FmxClientError
from fmx_client.terminal.canvas import COLOURS, Canvas, Point, Series
from fmx_client.terminal.text import NONE, number, plain
from fmx_client.types import Epoch, JobEvent, Metrics

PANELS = {"loss": ("val_loss", "train_loss"), "accuracy": ("val_accuracy", "train_accuracy")}
REST = "bright_black"  # runs beyond those that have a colour of their own

_HEIGHT = 9  # of a panel, in lines
_MARGIN = 9  # of a panel, in columns: the figures beside it
_SIDE_BY_SIDE = 72  # columns from which two panels have room


@dataclass
class Curve:
    """A run's figures by name, each epoch with a value."""

    name: str
    state: str = "queued"
    points: dict[str, list[Point]] = field(default_factory=dict[str, list[Point]])

    def add(self, epochs: Sequence[Epoch]) -> None:
        """The figures of epochs that came."""
        for epoch in epochs:
            for name in itertools.chain(*PANELS.values()):
                value: float | None = getattr(epoch, name)
                if value is not None and math.isfinite(value):
                    self.points.setdefault(name, []).append((epoch.epoch, value))

    def rewind(self, epoch: int) -> None:
        """Forgets the epochs after one."""
        for name, points in self.points.items():
            self.points[name] = [point for point in points if point[0] <= epoch]


class Curves:
    """The curves of a job's runs, fed by its events; another thread may draw them meanwhile."""

    def __init__(self) -> None:
        """There is none yet."""
        self._lock = threading.Lock()
        self._runs: dict[str, Curve] = {}

    def take(self, event: JobEvent) -> None:
        """What happened to a run. Raises ValueError for epochs that are none."""
        run = event.data.get("run")
        if not isinstance(run, str):
            return
        with self._lock:
            curve = self._runs.setdefault(run, Curve(str(event.data.get("name"))))
            match event.event:
                case "run":
                    curve.state = str(event.data.get("state"))
                case "epochs":
                    curve.add(Metrics.model_validate(event.data).epochs())
                case "rewound":
                    curve.rewind(int(event.data.get("epoch") or 0))
                case _:
                    pass

    def trained(self) -> list[Curve]:
        """Copies of those that have figures."""
        with self._lock:
            return [
                Curve(
                    each.name, each.state, {name: [*points] for name, points in each.points.items()}
                )
                for each in self._runs.values()
                if each.points
            ]

    def follow(self, client: Client, job_id: str) -> None:
        """Takes all events of a job until it has ended or no more can be had."""
        try:
            for event in client.events(job_id):
                self.take(event)
        except (FmxClientError, ValueError, RuntimeError):
            return  # whoever watches the job is told by the same server, or has left

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A panel of losses and one of accuracies, and which colour is whose."""
        curves = self.trained()
        if not curves:
            return
        width = options.max_width
        wide = width >= _SIDE_BY_SIDE
        panels = [
            Panel(title, _choose(curves, names), (width - 2) // 2 if wide else width)
            for title, names in PANELS.items()
        ]
        shown = [panel for panel in panels if panel.series]
        grid = Table.grid(padding=(0, 1))
        if wide:
            grid.add_row(*shown)
        else:
            for panel in shown:
                grid.add_row(panel)
        yield grid
        yield _legend(curves)


def _colour(place: int) -> str:
    return COLOURS[place] if place < len(COLOURS) else REST


def _choose(curves: Sequence[Curve], names: Sequence[str]) -> list[Series]:
    """What a panel shows: of one run both figures, of several the first that they have."""
    if len(curves) == 1:
        found = [(name, curves[0].points.get(name)) for name in reversed(names)]
        styles = {names[0]: _colour(0), names[1]: REST}
        return [Series(points, styles[name]) for name, points in found if points]
    # The newest last, so that it lies on top.
    ranked = list(enumerate(reversed(curves)))
    series: list[Series] = []
    for place, curve in reversed(ranked):
        points = next((curve.points[name] for name in names if curve.points.get(name)), None)
        if points:
            series.append(Series(points, _colour(place)))
    return series


def _legend(curves: Sequence[Curve]) -> RenderableType:
    """Which colour is whose, and the last figures; of one run, what is bright and what is dim."""
    text = Text(overflow="fold")
    for place, curve in enumerate(reversed(curves[-len(COLOURS) :])):
        losses, accuracies = (
            [points[-1][1] for name in names if (points := curve.points.get(name))]
            for names in PANELS.values()
        )
        said = f" {plain(curve.name)}  loss {_first(losses)}  accuracy {_first(accuracies)}   "
        text.append("━", style=_colour(place)).append(said)
    if len(curves) == 1:
        text.append("━ validation ", style=_colour(0)).append("━ training", style=REST)
    elif len(curves) > len(COLOURS):
        text.append(f"and {len(curves) - len(COLOURS)} more", style=REST)
    return text


def _first(values: Sequence[float]) -> str:
    return number(values[0]) if values else NONE


@dataclass(frozen=True)
class Panel:
    """Series in one frame of their own scale."""

    title: str
    series: Sequence[Series]
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, the lines with the largest and the least value beside them, the epochs."""
        del console, options
        columns = max(8, self.width - _MARGIN)
        canvas = Canvas(columns, _HEIGHT, self.series)
        yield Text(f"{'':{_MARGIN - 1}}{self.title}", style="bold")
        for place, line in enumerate(canvas.lines()):
            edges = {0: canvas.highest, _HEIGHT - 1: canvas.lowest}
            label = number(edges[place]) if place in edges else ""
            yield Text(f"{label:>{_MARGIN - 1}} ", style="dim").append_text(line)
        first, last = f"{canvas.first:g}", f"epoch {canvas.last:g}"
        yield Text(f"{'':{_MARGIN}}{first}{last:>{columns - len(first)}}", style="dim")
