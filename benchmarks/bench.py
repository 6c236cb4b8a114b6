"""Measurements, each two things side by side: `python -m benchmarks.bench [--rounds N]`.

A row is interleaved in one run, its figures are medians, its value a ratio: how many times faster
ours is than the other. The machine's own peak is measured in the same run. Results go to
`benchmarks/results.json` and, as a table, to `docs/performance.md`.
"""

import argparse
import gzip
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import report_loop
from fmx_ml.data.loader import HalfData, load_half
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.evaluate import measure, to_device
from fmx_ml.engine.objective import Classification
from fmx_ml.engine.train import make_optimiser, train_epoch
from fmx_ml.models import build
from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import CnnTraining
from fmx_store.settings import get_settings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
MARK = "<!-- measured: written by make bench -->"


def seconds_of(work: Callable[[], object]) -> float:
    """How long a piece of work takes, on the wall clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def interleave(
    ours: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, taken in turn, after one unmeasured round of each."""
    ours()
    other()
    pairs = [(seconds_of(ours), seconds_of(other)) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def row(
    name: str, ours: list[float], other: list[float], limit_seconds: float | None
) -> dict[str, Any]:
    """A row of the results: the ratio of medians, its spread over the rounds, both sides."""
    ratios = sorted(b / a for a, b in zip(ours, other, strict=True))
    mine, theirs = statistics.median(ours), statistics.median(other)
    return {
        "name": name,
        "value": round(theirs / mine, 2),
        "unit": "ratio",
        "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        "ours": round(mine, 4),
        "other": round(theirs, 4),
        "limit_fraction": None if limit_seconds is None else round(limit_seconds / mine, 3),
    }


def peak_flops() -> float:
    """Multiply-adds counted as two, a second: the best of a few large matrix products."""
    side = 2048
    a, b = torch.rand(side, side), torch.rand(side, side)
    torch.mm(a, b)
    return 2 * side**3 / min(seconds_of(lambda: torch.mm(a, b)) for _ in range(5))


def training_flops(training: CnnTraining) -> float:
    """Arithmetic of one picture's step: forward, and twice that backward, multiply-adds as two."""
    side, total = 28, 0
    for number, layer in enumerate(training.model.layers()):
        side = side + 2 * layer.padding - layer.kernel_size + 1
        product = layer.in_channels * layer.kernel_size**2 * layer.out_channels * side**2
        total += product * 2 * (2 if number == 0 else 3)  # no gradient for the picture itself
        side = side // 2 if layer.pool else side
    sizes = training.model.dense_sizes()
    return total + sum(a * b * 6 for a, b in itertools.pairwise(sizes))


def bench_q1_epoch(data: HalfData, raw: Path, rounds: int) -> dict[str, Any]:
    """An epoch of Q1 with its validation: this engine beside the report's loop."""
    training = plan(parse_request({"kind": "q1"}))[0].training
    assert isinstance(training, CnnTraining)
    objective = Classification(5)
    model = build(training.model, 5, torch.Generator().manual_seed(0))
    model.to(memory_format=torch.channels_last)
    optimiser = make_optimiser(training.optimiser, model)
    train, val = (
        to_device(data.train, torch.device("cpu")),
        to_device(data.val, torch.device("cpu")),
    )

    def never() -> None:
        return None

    def ours() -> None:
        batches = torch.randperm(len(train)).split(training.batch_size)
        train_epoch(model, objective, optimiser, train, batches, 1, never)
        measure(model, val, never)

    other_model = build(training.model, 5, torch.Generator().manual_seed(0))
    other_optimiser = make_optimiser(training.optimiser, other_model)
    loaders = report_loop.make_loaders(raw, training.batch_size)
    mine, theirs = interleave(
        ours, lambda: report_loop.run_epoch(other_model, other_optimiser, loaders), rounds
    )
    forward = training_flops(training) / 3
    flops = len(train) * training_flops(training) + len(val) * forward
    return row("q1_epoch", mine, theirs, flops / peak_flops())


def bench_startup(rounds: int) -> dict[str, Any]:
    """Importing the server, beside importing torch alone, which the server does without."""

    def importing(module: str) -> Callable[[], object]:
        return lambda: subprocess.run(
            [sys.executable, "-c", f"import {module}"], check=True, cwd=ROOT
        )

    return row(
        "server_import", *interleave(importing("api.main"), importing("torch"), rounds), None
    )


def write_page(machine: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Puts the table below the mark of the page; what stands above is written by hand."""
    head = PAGE.read_text().partition(MARK)[0]
    lines = [
        "| row | ours | other | ratio | spread | of the machine's peak |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        peak = "" if r["limit_fraction"] is None else f"{r['limit_fraction']:.0%}"
        low, high = r["spread"]
        lines.append(
            f"| {r['name']} | {r['ours']:.3f} s | {r['other']:.3f} s | {r['value']:.2f} | "
            f"{low:.2f} to {high:.2f} | {peak} |"
        )
    facts = ", ".join(f"{key} {value}" for key, value in machine.items())
    PAGE.write_text(f"{head}{MARK}\n\n" + "\n".join(lines) + f"\n\nMachine: {facts}.\n")


def unpack(folder: Path, source: Path) -> Path:
    """A folder as torchvision wants it, with the four files that lie in source, unpacked."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in source.rglob("*-ubyte*"):
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        (raw / file.name.removesuffix(".gz")).write_bytes(content)
    return folder


def main() -> None:
    """Measures everything and writes it down."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    settings = get_settings()
    data = load_half(
        "fashion-mnist", "fm1", 0, DataSources(settings.dataset_dir, settings.cache_dir)
    )
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peak_gflops": round(peak_flops() / 1e9, 1),
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        raw = unpack(Path(folder), Path(data.source))
        rows = [bench_q1_epoch(data, raw, rounds), bench_startup(rounds)]
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    write_page(machine, rows)
    for r in rows:
        print(f"{r['name']:>16}: {r['ours']:.3f} s, other {r['other']:.3f} s, ratio {r['value']}")


if __name__ == "__main__":
    main()
