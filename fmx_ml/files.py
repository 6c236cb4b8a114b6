"""The names of the files that runs and jobs leave, and how tables are written."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# Of a run.
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"
ONNX_FILE = "model.onnx"
TEST_SET_FILE = "test-set.safetensors"  # images uint8 [N, 28, 28] and labels int64 [N]
FEATURE_MAPS_FILE = "feature-maps.safetensors"  # of one test picture of each class
RECONSTRUCTIONS_FILE = "reconstructions.safetensors"  # of an autoencoder
CODES_FILE = "codes.safetensors"  # of an autoencoder
PREDICTIONS_FILE = "test-predictions.csv"
HISTORY_FILE = "history.csv"

# Of a job.
RESULTS_FILE = "results.json"
MANIFEST_FILE = "manifest.json"


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table as CSV; None is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON. Raises ValueError for NaN and infinities, which JSON does not have."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
