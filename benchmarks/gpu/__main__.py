"""Measures trainings on a GPU: python -m benchmarks.gpu --out FILE.json."""

import argparse
import os
import platform
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import agreement, report, speed
from benchmarks.gpu.ledger import Ledger
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.device import full_precision


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is asked for; the file holds all that was found, whatever happens."""
    options = _parse(arguments)
    ledger = Ledger(options.out, options.limit_seconds)
    device = torch.device(options.device)
    ledger.put("machine", "machine", _describe(device))
    sources = DataSources(options.dataset_dir, options.dataset_dir, download=False)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder, full_precision():
        ledger.content["folder"] = folder
        try:
            if "agreement" in options.parts:
                agreement.measure(ledger, sources, device, tiny=options.tiny)
            if "speed" in options.parts:
                speed.measure(ledger, sources, device, options.rounds, tiny=options.tiny)
            if options.whole_report:
                report.measure(ledger, sources, device.type, options.lanes, tiny=options.tiny)
        except BaseException:
            ledger.content["ended_by"] = traceback.format_exc().splitlines()[-20:]
            raise
        finally:
            ledger.save()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--dataset-dir", type=Path, default=Path("/usr/share/datasets/fashion-mnist")
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--parts", type=lambda text: text.split(",") if text else [], default=["agreement", "speed"]
    )
    parser.add_argument("--whole-report", action="store_true")
    parser.add_argument("--lanes", type=int, default=6, help="packs at once in the whole report")
    parser.add_argument("--limit-seconds", type=float, default=420)
    parser.add_argument("--tiny", action="store_true", help="to try the script itself on a CPU")
    return parser.parse_args(arguments)


def _describe(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    warnings.filterwarnings("once")
    main()
