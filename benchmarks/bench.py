"""Measurements, two things side by side: `python -m benchmarks.bench [--only P,P] [--rounds N]`.

A part is a module with `measure(rounds)`, which gives rows (`benchmarks/measuring.py`). The
machine's own peak is measured in the same run. Results go to `benchmarks/results.json` and, as a
table, to `docs/performance.md`; with `--only`, the rows of other parts stay as they were.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import Row, copy_bytes_per_second, peak_flops

PARTS = ("training", "serving", "startup")
"""The modules of this folder that measure something, in the order of the table."""

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
MARK = "<!-- measured: written by make bench -->"
_DIGITS = 4  # significant, of every number that is written


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is asked for and writes it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS))
    options = parser.parse_args(arguments)
    measured: dict[str, dict[str, Any]] = {}
    for part in options.only:
        began = time.perf_counter()
        for row in importlib.import_module(f"benchmarks.{part}").measure(options.rounds):
            measured[row.name] = {"part": part, **_tell(row)}
            print(f"{row.name:>36}: {row.value:.4g} {row.unit}", flush=True)
        print(f"{part} took {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    kept = {row["name"]: row for row in json.loads(RESULTS.read_text())["rows"]}
    left = {name: row for name, row in kept.items() if row.get("part") not in options.only}
    rows = sorted({**left, **measured}.values(), key=lambda row: PARTS.index(row["part"]))
    machine = describe_machine(options.rounds)
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    write_page(machine, rows)


def describe_machine(rounds: int) -> dict[str, Any]:
    """What the figures were measured on, and its peaks."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peak_gflops": _round(peak_flops() / 1e9),
        "copy_gb_per_second": _round(copy_bytes_per_second() / 1e9),
        "rounds": rounds,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write_page(machine: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Puts the table below the mark of the page; what stands above is written by hand."""
    head = PAGE.read_text().partition(MARK)[0]
    lines = [
        "| row | value | spread | ours | other | of the machine's limit | |",
        "|---|---:|---|---:|---:|---|---|",
    ]
    for row in rows:
        limit = row["limit_fraction"]
        low, high = row["spread"]
        cells = [
            row["name"],
            f"{row['value']:.4g} {'times' if row['unit'] == 'ratio' else row['unit']}",
            f"{low:.4g} to {high:.4g}",
            f"{row['ours']:.4g}",
            "" if row["other"] is None else f"{row['other']:.4g}",
            "" if limit is None else f"{limit:.0%} of {row['limit']}",
            row["note"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    facts = ", ".join(f"{key} {value}" for key, value in machine.items())
    PAGE.write_text(f"{head}{MARK}\n\n" + "\n".join(lines) + f"\n\nMachine: {facts}.\n")


def _tell(row: Row) -> dict[str, Any]:
    told = {name: _round(v) if isinstance(v, float) else v for name, v in asdict(row).items()}
    return {**told, "spread": [_round(value) for value in row.spread]}


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


if __name__ == "__main__":
    main()
