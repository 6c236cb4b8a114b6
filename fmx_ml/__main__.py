"""Runs an experiment with no server: python -m fmx_ml q1 --out DIR.

Exit status: 0 done, 1 failed, 2 wrong usage or a spec that is refused, 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from fmx_ml.data.sources import DataSources
from fmx_ml.errors import FmxError
from fmx_ml.experiments import collate
from fmx_ml.files import write_json
from fmx_ml.results import Results, RunOutcome, Table
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.specs import KINDS, JobRequest, PlannedRun, Preset, parse_request, plan

FAILED, REFUSED, INTERRUPTED = 1, 2, 130

_LARGE = 10  # from there on (epochs, seconds) one decimal says enough


class PrintingSink(FolderSink):
    """A folder sink that prints a line an epoch."""

    def __init__(self, folder: Path, run: PlannedRun) -> None:
        """The folder becomes the run's."""
        super().__init__(folder)
        self._run = run

    def epoch(self, metrics: EpochMetrics) -> None:
        super().epoch(metrics)
        width = len(str(self._run.max_epochs))
        print(
            f"{self._run.name}  epoch {metrics.epoch:{width}}/{self._run.max_epochs}"
            f"  training {metrics.train_loss:.4f} {metrics.train_accuracy:.4f}"
            f"  validation {metrics.val_loss:.4f} {metrics.val_accuracy:.4f}"
            f"  {metrics.seconds:.2f} s",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; gives back the exit status."""
    options = _parse(arguments)
    try:
        request = parse_request(_request_data(options))
    except (ValidationError, ValueError, OSError) as error:
        print(_explain(error), file=sys.stderr)
        return REFUSED
    try:
        results = run(request, options.out, _sources(options), options.threads)
    except FmxError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    for table in results.tables:
        print(f"\n{format_table(table)}")
    print(f"\nfigures, tables and models: {options.out}")
    return 0


def run(
    request: JobRequest, folder: Path, sources: DataSources, num_threads: int | None
) -> Results:
    """Trains every run of a request into a folder of its own, then collates them."""
    from fmx_ml.experiments.trainings import train  # noqa: PLC0415 - torch takes seconds

    outcomes: list[RunOutcome] = []
    for planned in plan(request.spec):
        sink = PrintingSink(folder / planned.name, planned)
        summary = train(
            planned.training,
            sink,
            sources=sources,
            device=request.spec.device,
            num_threads=num_threads,
        )
        write_json(folder / planned.name / "summary.json", summary)
        outcomes.append(
            RunOutcome(
                name=planned.name,
                training=planned.training,
                history=sink.history,
                summary=summary,
            )
        )
    return collate(
        request.kind,
        request.preset,
        request.spec,
        outcomes,
        FolderSink(folder),
        lambda name, artifact: folder / name / artifact,
    )


def format_table(table: Table) -> str:
    """A table as text: columns aligned, a dash where there is no figure."""
    cells = [table.columns, *([_format(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([table.title, *lines, *([table.note] if table.note else [])])


def _format(cell: str | float | None) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4f}" if abs(cell) < _LARGE else f"{cell:.1f}"
    return str(cell)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fmx_ml", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--out", type=Path, required=True, help="folder for all that comes out")
    parser.add_argument("--preset", choices=get_args(Preset), default="report")
    parser.add_argument("--spec", help="a JSON object, or a file that holds one")
    parser.add_argument(
        "--dataset-dir",
        type=Path,
        default=os.environ.get("FMX_DATASET_DIR") or None,
        help="folder with Fashion-MNIST's four files (or set FMX_DATASET_DIR)",
    )
    parser.add_argument(
        "--threads", type=_positive, help="CPU threads; as many as help, if it is left out"
    )
    parser.add_argument(
        "--synthetic", action="store_true", help="train on the stand-in instead of Fashion-MNIST"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _request_data(options: argparse.Namespace) -> dict[str, Any]:
    """The request's JSON. Raises OSError and ValueError for a spec that can't be read."""
    spec: Any = {}
    if options.spec is not None:
        inline = options.spec.lstrip().startswith("{")
        text = options.spec if inline else Path(options.spec).read_text(encoding="utf-8")
        spec = json.loads(text)
    if options.synthetic and isinstance(spec, dict):
        spec = {**spec, "dataset": "synthetic"}
    return {"kind": options.kind, "preset": options.preset, "spec": spec}


def _sources(options: argparse.Namespace) -> DataSources:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return DataSources(dataset_dir=options.dataset_dir, cache_dir=cache / "fmx")


def _explain(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"the spec can't be read: {error}"
    lines = [
        f"{'.'.join(map(str, problem['loc'])) or 'request'}: {problem['msg']}"
        for problem in error.errors()
    ]
    return "the spec is refused\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
