"""Says what trainings of this machine run on, as JSON: python -m fmx_ml.hardware."""

import json
import sys

import torch

from fmx_ml.engine.device import cpu_threads, describe_device, resolve_device


def main() -> None:
    """Writes one JSON object: the version of torch, its device, the threads of a training."""
    device = resolve_device("auto")
    with cpu_threads(None) as threads:
        seen = {
            "torch": torch.__version__,
            "cuda": device.type == "cuda",
            "device": describe_device(device),
            "threads": threads,
        }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
