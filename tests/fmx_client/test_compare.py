"""`fmx compare`: what differs, what came of it, and curves that a person can read."""

import re
from collections.abc import Sequence

import pytest
from command_line import Fmx
from http_service import SUMMARY, Service, epoch

from fmx_client.terminal.chart import Line, draw_chart
from fmx_ml.sinks import EpochMetrics
from fmx_store import claims
from fmx_store.claims import Success

BRAILLE = re.compile("[\u2801-\u28ff]")


def train(service: Service, epochs: Sequence[EpochMetrics], **figures: float) -> None:
    """Trains the next run to these epochs and figures."""
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, epochs, phase="training")
    claims.finish(service.db, claim.lease, Success(summary={**SUMMARY, **figures}))


def two_rates(service: Service) -> tuple[str, str]:
    """Two jobs, each of one run, whose learning rates and figures differ."""
    ids: list[str] = []
    for rate, accuracy in ((0.1, 0.75), (0.01, 0.5)):
        spec = {"optimiser": {"learning_rate": rate}, "max_epochs": 3}
        ids.append(service.submit(name=f"rate {rate}", spec=spec)["id"])
        train(service, [epoch(n, val_loss=rate * n) for n in (1, 2, 3)], test_accuracy=accuracy)
        service.collate({})
    return ids[0], ids[1]


def test_two_jobs_side_by_side(service: Service, fmx: Fmx) -> None:
    first, second = two_rates(service)
    said = fmx("compare", first, second, "--json").value
    rates = {row["name"]: row["values"] for row in said["differences"]}
    assert rates == {"optimiser.learning_rate": [0.1, 0.01]}
    figures = {row["name"]: row["values"] for row in said["figures"]}
    assert figures["test_accuracy"] == [0.75, 0.5]
    assert figures["epochs"] == [2, 2]
    assert not any(name.startswith(("data.", "environment.")) for name in figures)
    assert said["metric"] == "val_loss"
    assert said["curves"][0]["points"] == [[1, 0.1], [2, 0.2], [3, pytest.approx(0.3)]]
    assert said["labels"] == [f"{first[-6:]}/seed-0", f"{second[-6:]}/seed-0"]
    assert [run["job"] for run in said["runs"]] == [first, second]


def test_what_a_person_sees(service: Service, fmx: Fmx) -> None:
    first, second = two_rates(service)
    said = fmx("compare", first, second, "--metric", "train_loss")
    assert said.status == 0, said.err
    assert re.search(r"optimiser.learning_rate +0\.1000 +0\.0100", said.out)
    assert re.search(r"test_accuracy +0\.7500 +0\.5000", said.out)
    assert "train loss" in said.out
    assert BRAILLE.search(said.out)
    assert "3 epoch" in said.out


def test_runs_of_one_job_by_name_by_id_and_all(service: Service, fmx: Fmx) -> None:
    job_id = service.submit(spec={"seeds": [4, 5, 6], "max_epochs": 2})["id"]
    for _ in range(3):
        train(service, [epoch(1), epoch(2)])
    runs = service.get(f"/v1/jobs/{job_id}/runs")["items"]
    whole = fmx("compare", "last", "--json").value
    assert whole["labels"] == [run["name"] for run in runs]
    some = fmx("compare", f"last/{runs[2]['name']}", runs[0]["id"].lower(), "--json").value
    assert [run["id"] for run in some["runs"]] == [runs[2]["id"], runs[0]["id"]]
    twice = fmx("compare", "last", job_id, "--json").value
    assert len(twice["runs"]) == 3, "a run that is named twice is compared once"


def test_what_can_not_be_compared(service: Service, fmx: Fmx) -> None:
    service.submit()
    one = fmx("compare", "last")
    assert (one.status, one.out) == (2, "")
    assert "these are 1 runs: name 2 to 12" in one.err
    unknown = fmx("compare", "last/no-such-run", "last")
    assert unknown.status == 2
    assert "has no run no-such-run; it has seed-0" in unknown.err
    nothing = fmx("compare", "0" * 26, "last")
    assert nothing.status == 1
    assert "Traceback" not in nothing.err
    service.submit(spec={"seeds": list(range(13))})
    many = fmx("compare", "last")
    assert (many.status, "these are 13 runs" in many.err) == (2, True)


def test_runs_that_have_not_begun_have_no_curves(service: Service, fmx: Fmx) -> None:
    service.submit(spec={"seeds": [1, 2]})
    said = fmx("compare", "last", "--json").value
    assert said["curves"] == []
    assert [row["name"] for row in said["differences"]] == ["seed"]
    assert fmx("compare", "last").status == 0


def drawn(*lines: Line, width: int = 60) -> list[str]:
    """A chart's lines of text."""
    return [text.plain for text in draw_chart("loss", "epoch", lines, width)]


def test_a_chart_has_its_highest_point_at_the_top_left() -> None:
    rows = drawn(Line("falls", "cyan", [(1, 2.0), (10, 1.0)]))
    assert rows[0] == "loss  ━ falls"
    assert rows[1].startswith("2.0000 ┤")
    assert rows[14].startswith("1.0000 ┤")
    found = [(y, m.start()) for y, row in enumerate(rows) for m in BRAILLE.finditer(row)]
    columns = [column for _, column in found]
    assert columns == sorted(columns), "it falls from the left to the right"
    assert found[0][0] == 1
    assert found[-1] == (14, len(rows[14]) - 1)
    assert rows[-1].split() == ["1", "10", "epoch"]
    assert {len(row) for row in rows[1:15]} == {60}


def test_a_chart_of_one_point_and_of_a_level_curve() -> None:
    assert any(BRAILLE.search(row) for row in drawn(Line("one", "cyan", [(1, 0.5)])))
    level = drawn(Line("level", "cyan", [(1, 0.5), (2, 0.5)]))
    assert sum(bool(BRAILLE.search(row)) for row in level) == 1


def test_curves_share_one_axis() -> None:
    low, high = Line("low", "cyan", [(1, 0.0), (2, 0.0)]), Line("high", "red", [(1, 4.0), (2, 4.0)])
    rows = drawn(low, high)
    assert [y for y, row in enumerate(rows) if BRAILLE.search(row)] == [1, 14]
    assert rows[0] == "loss  ━ low  ━ high"
