"""Curves in a terminal: what is drawn of a job's events."""

import io
from typing import Any

import pytest
from http_service import Service
from rich.console import Console

from fmx_client import Client
from fmx_client.terminal.canvas import COLOURS, Canvas, Series
from fmx_client.terminal.curves import Curves
from fmx_client.terminal.live import Progress
from fmx_client.types import JobEvent

COLUMNS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"]


def event(name: str, run: str = "r", **data: Any) -> JobEvent:
    return JobEvent(id="1", event=name, data={"run": run, "name": f"run-{run}", **data})


def epochs(*numbers: int, run: str = "r") -> JobEvent:
    rows = [[n, 1 / n, 1 - 1 / n, 2 / n, 1 - 1 / (2 * n), 0.5] for n in numbers]
    return event("epochs", run, attempt=1, columns=COLUMNS, rows=rows)


def draw(curves: Curves, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(curves)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def drawn_on(columns: int, height: int, *points: tuple[float, float]) -> list[str]:
    canvas = Canvas(columns, height, [Series(points, "cyan")])
    return [line.plain for line in canvas.lines()]


def test_a_line_goes_from_corner_to_corner() -> None:
    assert drawn_on(4, 2, (1, 0.0), (8, 7.0)) == ["  ⡠⠊", "⡠⠊  "]
    assert drawn_on(2, 1, (1, 5.0), (2, 5.0)) == ["⠉⠉"]
    assert drawn_on(2, 1, (1, 5.0)) == ["⠁ "]


def test_nothing_is_drawn_before_the_first_epoch() -> None:
    curves = Curves()
    assert draw(curves) == []
    curves.take(event("run", state="running"))
    curves.take(JobEvent(id="1", event="job", data={"state": "running"}))
    assert draw(curves) == []


def test_one_run_shows_both_of_its_figures_with_their_bounds() -> None:
    curves = Curves()
    curves.take(epochs(1, 2, 3, 4))
    lines = draw(curves)
    assert lines[0].split() == ["loss", "accuracy"]
    assert lines[1].lstrip().startswith("2.0000")
    assert lines[9].lstrip().startswith("0.2500")
    assert lines[10].split() == ["1", "epoch", "4", "1", "epoch", "4"]
    assert "run-r  loss 0.5000  accuracy 0.8750" in lines[11]
    assert "validation" in lines[11]
    assert any("\u2800" < character < "\u28ff" for character in lines[1])


@pytest.mark.parametrize(("width", "num_lines"), [(100, 12), (40, 24), (20, 26)])
def test_panels_stand_side_by_side_where_there_is_room(width: int, num_lines: int) -> None:
    curves = Curves()
    curves.take(epochs(1, 2))
    lines = draw(curves, width)
    assert all(len(line) <= width for line in lines)
    assert len(lines) >= num_lines - 2


def test_a_run_that_goes_back_forgets_what_came_after() -> None:
    curves = Curves()
    curves.take(epochs(1, 2, 3, 4))
    curves.take(event("rewound", epoch=2))
    assert [x for x, _ in curves.trained()[0].points["val_loss"]] == [1, 2]
    curves.take(epochs(3))
    assert [x for x, _ in curves.trained()[0].points["val_loss"]] == [1, 2, 3]


def test_of_many_runs_the_newest_have_colours_of_their_own() -> None:
    curves = Curves()
    for number in range(len(COLOURS) + 3):
        curves.take(epochs(1, 2, run=f"{number}"))
    lines = draw(curves)
    text = " ".join(lines)
    assert "and 3 more" in text
    assert f"run-{len(COLOURS) + 2} " in text
    assert "run-0 " not in text


def test_what_is_not_known_and_what_is_odd_is_left_out() -> None:
    curves = Curves()
    rows = [[1, None, None, 0.5, None, 0.1], [2, None, None, None, None, 0.1]]
    curves.take(event("epochs", columns=COLUMNS, rows=rows))
    assert curves.trained()[0].points == {"val_loss": [(1, 0.5)]}
    assert draw(curves)[0].split() == ["loss"]
    with pytest.raises(ValueError, match="rows"):
        curves.take(event("epochs", columns=COLUMNS, rows="none"))


def test_a_name_can_not_steer_the_terminal() -> None:
    curves = Curves()
    told = epochs(1, 2)
    curves.take(JobEvent(id="1", event="epochs", data={**told.data, "name": "[red]\x1b[2J"}))
    text = "\n".join(draw(curves))
    assert "\x1b" not in text
    assert "[red]" in text


def test_watching_on_a_terminal_draws_them(service: Service) -> None:
    job_id = service.run_to_success()
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True, _environ={"TERM": "xterm"})
    with Client(service.server.url) as client:
        Progress(console, with_curves=True).follow(client, job_id)
    shown = output.getvalue()
    assert "epoch 2" in shown
    assert "seed-0  loss 1.0000  accuracy 0.5000" in shown
    assert "1 succeeded" in shown
