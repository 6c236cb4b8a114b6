"""What `make bench` leaves, whatever its parts do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench
from benchmarks.measuring import Row
from benchmarks.page import MARK, format_row, merge

PAGE = f"# Performance\n\nWritten by hand.\n\n{MARK}\n\n| an old table |\n"


def make_row(name: str, value: float = 31.4159, **fields: Any) -> Row:
    given: dict[str, Any] = {"unit": "ratio", "spread": (30.0, 33.0), "ours": 0.2, "other": 6.28}
    return Row(name=name, value=value, **(given | fields))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two parts, one that fails after its first row."""

    def measure_part(part: str, rounds: int) -> Iterator[Row]:
        assert rounds == 2
        if part == "training":
            yield make_row("q1_epoch")
            yield make_row("q3_epoch", 2.0, limit_fraction=0.125, limit="matrix multiply")
        else:
            yield make_row("list_100k_p99_ms", 19.0, unit="ms", other=None)
            raise RuntimeError("the rest can't be measured")

    page = tmp_path / "performance.md"
    page.write_text(PAGE)
    monkeypatch.setattr(bench, "PARTS", ("training", "record", "startup"))
    monkeypatch.setattr(bench, "PAGE", page)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "measure_part", measure_part)
    monkeypatch.setattr(bench, "describe_machine", lambda rounds: {"cores": 2, "rounds": rounds})
    return page


def read(page: Path) -> dict[str, Any]:
    return json.loads(page.with_name("results.json").read_text())


def test_rows_and_machine_are_written(page: Path) -> None:
    assert bench.main(["--rounds", "2", "--only", "training"]) == 0
    told = read(page)
    assert told["machine"] == {"cores": 2, "rounds": 2}
    first, second = told["rows"]
    assert first == {
        "part": "training",
        "name": "q1_epoch",
        "value": 31.42,
        "unit": "ratio",
        "spread": [30.0, 33.0],
        "ours": 0.2,
        "other": 6.28,
        "limit_fraction": None,
        "limit": None,
        "note": "",
        "goal": {"needed": 30, "aim": 50, "lower_is_better": False, "reached": "yes"},
    }
    assert second["goal"]["reached"] == "no"


def test_the_page_keeps_what_is_written_by_hand(page: Path) -> None:
    bench.main(["--rounds", "2", "--only", "training"])
    text = page.read_text()
    assert text.startswith("# Performance\n\nWritten by hand.\n\n" + MARK)
    assert "an old table" not in text
    assert "| `q1_epoch` | 30 | 50 | 31.42 times | 30 to 33 | 0.2 | 6.28 |  |  |" in text
    assert "12% of matrix multiply" in text
    assert text.endswith("Machine: cores 2, rounds 2.\n")


def test_a_part_that_fails_says_so_and_the_others_are_written(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--rounds", "2", "--only", "record,training"]) == 1
    told = capsys.readouterr()
    assert "the rest can't be measured" in told.err
    assert "failed, and not whole in the results: record" in told.err
    assert "q1_epoch: 31.42 ratio (needed 30, aim 50: yes)" in told.out
    names = [row["name"] for row in read(page)["rows"]]
    assert names == ["q1_epoch", "q3_epoch", "list_100k_p99_ms"]


def test_rows_of_other_parts_stay(page: Path) -> None:
    kept = {"part": "startup", **vars(make_row("server_import", 1.8))}
    gone = {"part": "a part of old", **vars(make_row("x", 1.8))}
    stale = {"part": "training", **vars(make_row("q2_epoch", 1.8))}
    content = {"machine": {}, "rows": [kept, gone, stale]}
    page.with_name("results.json").write_text(json.dumps(content))
    bench.main(["--rounds", "2", "--only", "training"])
    names = [row["name"] for row in read(page)["rows"]]
    assert names == ["q1_epoch", "q3_epoch", "server_import"]


def test_no_part_is_made_up(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--only", "trainings"])
    assert "no such part: trainings" in capsys.readouterr().err
    assert page.read_text() == PAGE


def test_a_row_with_a_bound_from_above() -> None:
    told = {"part": "record", **vars(make_row("list_100k_p99_ms", 19.0, unit="ms", other=None))}
    (row,) = merge([], [told], ["record"], ["record"])
    assert row["goal"]["reached"] == "aim"
    line = "| `list_100k_p99_ms` | at most 60 | at most 20 | 19 ms | 30 to 33 | 0.2 |  |  |  |"
    assert format_row(row) == line
