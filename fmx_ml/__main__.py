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
from fmx_ml.errors import BadDatasetError, FmxError
from fmx_ml.files import write_json
from fmx_ml.questions import MisfitError
from fmx_ml.requests import KINDS, JobRequest, parse_request, plan, told
from fmx_ml.results import NeededRun, Results, RunOutcome
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.specs import OwnDataset, Preset
from fmx_ml.texts import format_table
from fmx_ml.trainings import PlannedRun

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


class PrintingSink(FolderSink):
    """A folder sink that prints a line an epoch."""

    def __init__(self, folder: Path, run: PlannedRun) -> None:
        """The folder becomes the run's."""
        super().__init__(folder)
        self._run = run

    def epoch(self, metrics: EpochMetrics) -> None:
        super().epoch(metrics)
        width = len(str(self._run.max_epochs))
        parts = [
            f"{self._run.name}  epoch {metrics.epoch:{width}}/{self._run.max_epochs}",
            _show("training", metrics.train_loss, metrics.train_accuracy),
            _show("validation", metrics.val_loss, metrics.val_accuracy),
            f"{metrics.seconds:.2f} s",
        ]
        print("  ".join(part for part in parts if part), flush=True)


def _show(label: str, *figures: float | None) -> str:
    known = [f"{figure:.4f}" for figure in figures if figure is not None]
    return " ".join([label, *known]) if known else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; gives back the exit status."""
    options = _parse(arguments)
    try:
        dataset = _identify(options.data)
        request = told(parse_request(_request_data(options, dataset)), dataset)
    except (ValidationError, ValueError, OSError, BadDatasetError) as error:
        print(_explain(error), file=sys.stderr)
        return REFUSED
    try:
        results = run(request, options.out, _sources(options), options.threads)
    except MisfitError as error:
        print(f"the spec is refused\nspec.{error}", file=sys.stderr)
        return REFUSED
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
    from fmx_ml.collation import collate  # noqa: PLC0415 - a refused spec needs no matplotlib
    from fmx_ml.pipelines import train  # noqa: PLC0415 - torch takes seconds

    finished: dict[str, NeededRun] = {}
    for planned in plan(request):
        sink = PrintingSink(folder / planned.name, planned)
        summary = train(
            planned.training,
            sink,
            sources=sources,
            device=request.spec.device,
            num_threads=num_threads,
            needed=[finished[name] for name in planned.needs],
        )
        write_json(folder / planned.name / "summary.json", summary)
        outcome = RunOutcome(
            name=planned.name, training=planned.training, history=sink.history, summary=summary
        )
        files = {name: folder / planned.name / name for name in sink.artifacts}
        finished[planned.name] = NeededRun(outcome=outcome, files=files)
    return collate(
        request.kind,
        request.preset,
        request.spec,
        [run.outcome for run in finished.values()],
        FolderSink(folder),
        lambda name, artifact: folder / name / artifact,
    )


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
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="a file that `python -m fmx_ml.data pack` made"
    )
    return parser.parse_args(arguments)


def _identify(file: Path | None) -> OwnDataset | None:
    """The data set of a file, by the file's name. Raises BadDatasetError."""
    if file is None:
        return None
    from fmx_ml.data import own  # noqa: PLC0415 - numpy, which a refused spec needs not

    return own.identify(file, file.name.partition(".")[0])


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _request_data(options: argparse.Namespace, dataset: OwnDataset | None) -> dict[str, Any]:
    """The request's JSON. Raises OSError and ValueError for a spec that can't be read."""
    spec: Any = {}
    if options.spec is not None:
        inline = options.spec.lstrip().startswith("{")
        text = options.spec if inline else Path(options.spec).read_text(encoding="utf-8")
        spec = json.loads(text)
    if options.synthetic and isinstance(spec, dict):
        spec = {**spec, "dataset": "synthetic"}
    if dataset is not None and isinstance(spec, dict):
        spec = {**spec, "dataset": dataset.name}
    return {"kind": options.kind, "preset": options.preset, "spec": spec}


def _sources(options: argparse.Namespace) -> DataSources:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return DataSources(dataset_dir=options.dataset_dir, cache_dir=cache / "fmx", own=options.data)


def _explain(error: Exception) -> str:
    if isinstance(error, BadDatasetError):
        return str(error)
    if not isinstance(error, ValidationError):
        return f"the spec can't be read: {error}"
    lines = [
        f"{'.'.join(map(str, problem['loc'])) or 'request'}: {problem['msg']}"
        for problem in error.errors()
    ]
    return "the spec is refused\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
