"""Measurements, two things side by side: `python -m benchmarks.bench [--only P,P] [--rounds N]`.

A part is a module with `measure(rounds)`, which gives rows (`benchmarks/measuring.py`); their goals
are in `benchmarks/goals.py`. A part that fails says so, the others are measured and written, and
the exit status is 1. Results go to `benchmarks/results.json` and, as a table, to
`docs/performance.md`; with `--only`, the rows of other parts stay as they were.
"""

import argparse
import importlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.goals import GOALS
from benchmarks.measuring import Row, copy_bytes_per_second, peak_flops
from benchmarks.page import describe_row, merge, read_rows, round_off, write_page, write_results

PARTS = ("training", "serving", "record", "latency", "startup")
"""The modules of this folder that measure something, in the order of the table."""

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is asked for and writes it down; the exit status."""
    options = _parse(arguments)
    machine = describe_machine(options.rounds)
    measured: list[dict[str, Any]] = []
    failed: list[str] = []
    for part in options.only:
        began = time.perf_counter()
        try:
            for row in measure_part(part, options.rounds):
                measured.append(describe_row(part, row))
                print(_line(row), flush=True)
        except Exception:  # noqa: BLE001 - whatever it was, the other parts are measured
            traceback.print_exc()
            failed.append(part)
        print(f"{part} took {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    rows = merge(read_rows(RESULTS), measured, options.only, PARTS)
    write_results(RESULTS, machine, rows)
    write_page(PAGE, machine, rows)
    if failed:
        print(f"failed, and not whole in the results: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART,PART")
    return parser.parse_args(arguments)


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}; {PARTS} are")
    return parts


def measure_part(part: str, rounds: int) -> Iterator[Row]:
    """The rows of one part, as they are measured."""
    yield from importlib.import_module(f"benchmarks.{part}").measure(rounds)


def describe_machine(rounds: int) -> dict[str, Any]:
    """What the figures were measured on, and its peaks."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peak_gflops": round_off(peak_flops() / 1e9),
        "copy_gb_per_second": round_off(copy_bytes_per_second() / 1e9),
        "rounds": rounds,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _line(row: Row) -> str:
    goal = GOALS.get(row.name)
    told = f"{row.name:>36}: {row.value:.4g} {row.unit}"
    if goal is None:
        return told
    return f"{told} (needed {goal.needed:,}, aim {goal.aim or '-'}: {goal.verdict(row.value)})"


if __name__ == "__main__":
    sys.exit(main())
