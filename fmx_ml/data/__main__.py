"""Says where the pictures are, as JSON: python -m fmx_ml.data [--download] [--pictures].

`python -m fmx_ml.data pack` makes a data set's file of your own (fmx_ml/data/packing.py).

Exit status: 0 they are there, 1 they can't be had (the reason is printed), 2 wrong usage.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from fmx_ml.data import fashion_mnist
from fmx_ml.data.loader import load_half
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import DataUnavailableError
from fmx_ml.specs import BuiltIn, Half


def main(arguments: Sequence[str] | None = None) -> int:
    """Looks for what the command line asks for; gives back the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["pack"]:
        from fmx_ml.data import packing  # noqa: PLC0415 - decoders, which a look needs not

        return packing.main(given[1:])
    options = _parse(given)
    sources = DataSources(
        dataset_dir=options.dataset_dir,
        cache_dir=options.cache_dir,
        download=options.download,
        timeout_seconds=options.timeout,
    )
    try:
        answer = {"found": True, **_look(options, sources)}
    except DataUnavailableError as error:
        answer = {"found": False, "dataset": options.dataset, "reason": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if answer["found"] else 1


def _look(options: argparse.Namespace, sources: DataSources) -> dict[str, Any]:
    """What there is. Raises DataUnavailableError."""
    if options.pictures:
        return first_pictures(options.dataset, options.half, sources)
    if options.dataset == "synthetic":
        return {"dataset": options.dataset, "source": "made when it is needed", "checksums": {}}
    data = fashion_mnist.load(sources)
    return {"dataset": options.dataset, "source": data.source, "checksums": dict(data.checksums)}


def first_pictures(dataset: BuiltIn, half: Half, sources: DataSources) -> dict[str, Any]:
    """The first test picture of each class: its row, label, and 28 rows of 28 values of 0 to 255.

    Raises DataUnavailableError.
    """
    data = load_half(dataset, half, 0, sources)
    rows = [data.test.labels_N.tolist().index(label) for label in range(len(data.names))]
    pictures = [
        {"row": row, "label": name, "pixels": data.test.images_NHW[row].tolist()}
        for row, name in zip(rows, data.names, strict=True)
    ]
    return {
        "dataset": dataset,
        "source": data.source,
        "checksums": dict(data.checksums),
        "half": half,
        "pictures": pictures,
    }


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(prog="python -m fmx_ml.data", description=__doc__)
    parser.add_argument("--dataset", choices=get_args(BuiltIn), default="fashion-mnist")
    parser.add_argument(
        "--dataset-dir",
        type=Path,
        default=os.environ.get("FMX_DATASET_DIR") or None,
        help="folder with Fashion-MNIST's four files (or set FMX_DATASET_DIR)",
    )
    parser.add_argument(
        "--cache-dir", type=Path, default=cache / "fmx", help="folder that keeps a download"
    )
    parser.add_argument(
        "--download", action="store_true", help="download it where no folder has it"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=DataSources.timeout_seconds,
        metavar="SECONDS",
        help="silence after which a download is given up",
    )
    parser.add_argument(
        "--pictures", action="store_true", help="the first test picture of each class, too"
    )
    parser.add_argument("--half", choices=get_args(Half), default="fm1")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
