"""What a person sees: figures, live progress, pictures."""

import io
import itertools
from datetime import UTC, datetime

import httpx
import pytest
from rich.console import Console
from stand_in import URL, StandIn, job, problem

from fmx_client import Client, client, errors
from fmx_client.terminal import live, views
from fmx_client.terminal.live import Progress
from fmx_client.terminal.pictures import draw, draw_row, shrink
from fmx_client.terminal.results import show_results
from fmx_client.terminal.text import duration, number, plain, signed, size
from fmx_client.types import Prediction, ResultsBody

TIMES = {"started_at": "2025-11-23T14:00:00Z", "finished_at": "2025-11-23T14:00:58Z"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.0000"),
        (0.98164, "0.9816"),
        (3.2e-6, "3.2e-06"),
        (205.0, "205"),
        (22.5, "22.50"),
        (-183.0, "-183"),
        (float("nan"), "nan"),
    ],
)
def test_a_figure_has_the_digits_that_matter(value: float | None, text: str) -> None:
    assert number(value) == text


def test_differences_durations_sizes() -> None:
    assert [signed(x) for x in (0.0008, -0.0018, 17.0, -183.0)] == [
        "+0.0008",
        "-0.0018",
        "+17",
        "-183",
    ]
    assert [duration(s) for s in (None, 0.4, 59.6, 185, 7260)] == [
        "-",
        "0 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 01 min",
    ]
    assert [size(b) for b in (0, 999, 1000, 45_600_000, 7e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "45.6 MB",
        "7000.0 GB",
    ]


WIDE: dict[str, object] = {
    "name": "runs",
    "title": "Each run",
    "columns": ["run", *(f"figure_number_{i}" for i in range(9)), "never", "verdict"],
    "rows": [
        ["seed-0", *[0.5] * 9, None, "inside"],
        ["seed-1", *[1.5] * 9, None, "not_comparable"],
    ],
}


@pytest.mark.parametrize(("width", "upright"), [(240, True), (80, False), (20, True)])
def test_a_table_that_is_too_wide_lies_on_its_side(width: int, upright: bool) -> None:
    body = ResultsBody.model_validate(
        {"job": "x", "kind": "q1", "dataset": "fashion-mnist", "tables": [WIDE]}
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(show_results(body))
    assert isinstance(console.file, io.StringIO)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert ("run seed-0 seed-1" in lines) is not upright
    assert ("figure number 3 0.5000 1.5000" in lines) is not upright
    assert ("verdict inside not comparable" in lines) is not upright
    assert not any("never" in line for line in lines)


def test_what_a_server_sends_can_not_steer_the_terminal() -> None:
    assert "\x1b" not in plain("\x1b]0;title\x07 \x9b31m\r")
    prediction = Prediction.model_validate(
        {"label": "[red]\x1b[2J", "class": 1, "probabilities": {"[red]\x1b[2J": 1.0}}
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(views.predictions([prediction], ["[bold]x\x1b"]))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "\x1b" not in shown
    assert "[red]" in shown
    assert "[bold]x" in shown


def _running(completed: int, phase: str = "training") -> httpx.Response:
    progress = {
        "phase": phase,
        "completed": completed,
        "total": 15,
        "eta_seconds": 15.0 - completed,
    }
    body = job("running", progress=progress, runs={"running": 1}, started_at=TIMES["started_at"])
    return httpx.Response(200, json=body, headers={"ETag": f'"{phase}-{completed}"'})


def _ended(state: str) -> httpx.Response:
    progress = {"phase": state, "completed": 15, "total": 15, "eta_seconds": 0.0}
    return httpx.Response(200, json=job(state, progress=progress, **TIMES))


class Training(StandIn):
    """A job that is one epoch further with every look."""

    def __init__(self, state: str = "succeeded", trouble: bool = False) -> None:
        away: list[httpx.Response | Exception] = [httpx.ConnectError("refused")] if trouble else []
        jobs = [_running(0, "data"), *map(_running, range(1, 16)), *away, _ended(state)]
        self.jobs = iter(jobs)
        super().__init__([self.answer])

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/runs"):
            return httpx.Response(200, json={"items": [_run()], "next_cursor": None})
        if request.url.path.endswith("/metrics"):
            columns = ["epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy"]
            rows = [[7, 0.1234, 0.2345, 0.9512, 0.9498]]
            return httpx.Response(200, json={"run": "01RUN", "columns": columns, "rows": rows})
        found = next(self.jobs)
        if isinstance(found, Exception):
            raise found
        return found


def _run() -> dict[str, object]:
    return {**job("running"), "id": "01RUN", "job": "01JOB", "name": "seed-0"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.time, "sleep", lambda _: None)


def _follow(server: StandIn, *, terminal: bool, width: int = 100) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=terminal, _environ={"TERM": "xterm"})
    progress = Progress(console)
    with Client(URL, transport=server.transport, on_retry=progress.trouble) as asking:
        progress.follow(asking, "01JOB")
    return output.getvalue()


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    lines = _follow(Training(), terminal=False).splitlines()
    assert "reading the pictures" in lines[0]
    assert any("epoch 7 of 15  loss 0.1234 / 0.2345  accuracy 0.9512 / 0.9498" in x for x in lines)
    assert lines[-1] == "q1 quick  succeeded after 58 s"
    assert len(lines) == 17
    assert not any("\x1b" in line for line in lines)


def test_progress_says_where_the_data_is_not_the_real_one() -> None:
    body = job("failed", spec={"dataset": "synthetic"}, name="[red]mine", **TIMES)
    server = StandIn([httpx.Response(200, json=body)])
    shown = _follow(server, terminal=False)
    assert shown == "q1 quick “[red]mine” (synthetic data)  failed after 58 s\n"


def test_long_trainings_do_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LINES", 3)
    assert len(_follow(Training(), terminal=False).splitlines()) == 5


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_on_a_terminal_there_is_a_bar(state: str) -> None:
    shown = _follow(Training(state), terminal=True)
    assert "━━━" in shown
    assert "epoch 15 of 15" in shown
    assert "0.9498" in shown
    last = shown.rsplit("q1 quick", 1)[1]
    assert "after 58 s" in last


@pytest.mark.parametrize("terminal", [True, False])
def test_a_server_that_is_away_is_said(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[str] = []
    server = Training(trouble=True)
    progress_trouble = Progress.trouble

    def noted(self: Progress, error: errors.FmxClientError, pause_seconds: float) -> None:
        progress_trouble(self, error, pause_seconds)
        console = Console(file=io.StringIO(), width=100)
        console.print(self._render())
        assert isinstance(console.file, io.StringIO)
        pauses.append(console.file.getvalue())

    monkeypatch.setattr(Progress, "trouble", noted)
    shown = _follow(server, terminal=terminal)
    assert "no connection (refused): trying again" in pauses[0]
    assert ("trying again" in shown) or terminal
    assert "succeeded after 58 s" in shown.replace("\x1b[0m", "").replace("\x1b[32m", "")


def test_a_job_that_is_not_there_is_an_error() -> None:
    with pytest.raises(errors.NotFoundError):
        _follow(StandIn([problem(404, "not_found")]), terminal=True)


def _picture() -> list[list[float]]:
    return [[float(10 * y + x) for x in range(28)] for y in range(28)]


@pytest.mark.parametrize("side", [28, 20, 14, 10])
def test_a_smaller_picture_keeps_its_brightness(side: int) -> None:
    small = shrink(_picture(), side)
    assert [len(row) for row in small] == [side] * side
    mean = sum(itertools.chain(*_picture())) / 28**2
    assert sum(itertools.chain(*small)) / side**2 == pytest.approx(mean)
    assert small[0][0] < small[0][-1] < small[-1][0] < small[-1][-1]


def test_two_by_two_pixels_become_their_mean() -> None:
    assert shrink([[0, 2, 8, 8], [4, 6, 8, 8], [1, 1, 0, 0], [1, 1, 0, 4]], 2) == [[3, 8], [1, 1]]


def test_a_character_shows_two_pixels() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=10)
    console.print(draw([[0, 255.0], [300, -5]]))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "\x1b[38;2;0;0;0;48;2;255;255;255m▀" in shown
    assert "\x1b[38;2;255;255;255;48;2;0;0;0m▀" in shown


@pytest.mark.parametrize(("width", "lines"), [(88, 8), (160, 14), (30, 5), (200, 14)])
def test_pictures_stand_side_by_side_in_the_width_there_is(width: int, lines: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(draw_row([(_picture(), "Bag")] * 5, width))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().splitlines()
    assert len([line for line in shown if "▀" in line]) == lines
    assert shown[-1].count("Bag") == 5


def test_times_are_shown_in_this_machines_zone() -> None:
    at = datetime(2025, 11, 23, 14, 0, tzinfo=UTC)
    assert views.moment(at) == at.astimezone().strftime("%Y-%m-%d %H:%M")
