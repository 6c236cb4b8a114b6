"""What `make bench` leaves: `benchmarks/results.json` and the table in `docs/performance.md`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.measuring import Row

MARK = "<!-- measured: written by make bench -->"
_HEAD = (
    "| row | at least | aim | reached | spread | ours | other | of the machine's limit | |",
    "|---|---:|---:|---:|---|---:|---:|---|---|",
)
_DIGITS = 4  # significant, of every number that is written


def describe_row(part: str, row: Row) -> dict[str, Any]:
    """A row as `results.json` holds it, but for its goal."""
    told = {name: round_off(v) if isinstance(v, float) else v for name, v in asdict(row).items()}
    return {"part": part, **told, "spread": [round_off(value) for value in row.spread]}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a former run; none where there is no file."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def merge(
    kept: Sequence[dict[str, Any]],
    measured: Sequence[dict[str, Any]],
    parts: Sequence[str],
    order: Sequence[str],
) -> list[dict[str, Any]]:
    """The measured rows of some parts and the kept ones of others, each with its goal of today.

    They are in the order of all parts; rows of a part that there is no more are left out.
    """
    others = [row for row in kept if row["part"] not in parts and row["part"] in order]
    rows = sorted([*others, *measured], key=lambda row: order.index(row["part"]))
    return [{**row, "goal": describe_goal(row["name"], row["value"])} for row in rows]


def describe_goal(name: str, value: float) -> dict[str, Any] | None:
    """The row's bounds, and what the value reaches of them."""
    goal = GOALS.get(name)
    return None if goal is None else {**asdict(goal), "reached": goal.verdict(value)}


def write_results(
    path: Path, machine: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """The machine and the rows as JSON."""
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


def write_page(page: Path, machine: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts the table below the mark of the page; what stands above is written by hand."""
    head = page.read_text().partition(MARK)[0]
    lines = [*_HEAD, *(format_row(row) for row in rows)]
    facts = ", ".join(f"{key} {value}" for key, value in machine.items())
    page.write_text(f"{head}{MARK}\n\n" + "\n".join(lines) + f"\n\nMachine: {facts}.\n")


def format_row(row: Mapping[str, Any]) -> str:
    """A line of the table."""
    low, high = row["spread"]
    limit = row["limit_fraction"]
    cells = [
        f"`{row['name']}`",
        *_format_goal(row["goal"]),
        f"{_number(row['value'])} {'times' if row['unit'] == 'ratio' else row['unit']}",
        f"{_number(low)} to {_number(high)}",
        _number(row["ours"]),
        "" if row["other"] is None else _number(row["other"]),
        "" if limit is None else f"{_percent(100 * limit)}% of {row['limit']}",
        row["note"],
    ]
    return "| " + " | ".join(cells) + " |"


def _format_goal(goal: Mapping[str, Any] | None) -> tuple[str, str]:
    if goal is None:
        return "", ""
    most = "at most " if goal["lower_is_better"] else ""
    aim = "" if goal["aim"] is None else f"{most}{goal['aim']:,}"
    return f"{most}{goal['needed']:,}", aim


def _percent(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _number(value: float) -> str:
    return f"{round_off(value):,.10g}"


def round_off(value: float) -> float:
    """To the digits that are written."""
    return float(f"{value:.{_DIGITS}g}")
