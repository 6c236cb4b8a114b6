"""Finished jobs for tests of the rendered report: small, and made by hand."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fmx_ml.report import JobReport
from fmx_ml.results import Comparison, Erratum, Figure, Results, Table, compare

STARTED = datetime(2026, 11, 23, 16, 52, tzinfo=UTC)
SVG = (
    b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="288pt" height="144pt" '
    b'viewBox="0 0 288 144"><path d="M 0 0 L 288 144" stroke="#0072B2"/></svg>'
)


def make_png(width: int, height: int, grey: int = 0) -> bytes:
    """A picture of one grey, from 0 to 255."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([grey]) * width) * height)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


FILES = {"figure-1-loss.svg": SVG, "figure-1-loss.png": make_png(640, 320)}

TABLE = Table(
    name="accuracies",
    title="Accuracies beside the published",
    columns=["figure", "published", "mean", "mean_std", "best_epoch", "verdict"],
    rows=[
        ["test, best epoch", 0.9816, 0.98123, 0.00049, 205.0, "inside"],
        ["training, best weights", None, 0.99, 0.001, 203.5, None],
    ],
    note="Means over the seeds.",
)
FIGURE = Figure(
    number="1",
    title="Training and validation loss",
    artifacts=["figure-1-loss.png", "figure-1-loss.svg", "figure-1-loss.csv"],
)
ERRATA = [
    Erratum(number=1, where="every training loop", says="It keeps a reference.", done="A copy."),
    Erratum(number=11, where="section 4.2", says="0.02155.", done="Both.", evidence="x 32 = 0.69."),
]
COMPARISONS = [
    compare("q1.accuracy.test", 0.9816, [0.981, 0.982, 0.9815], decimals=4, errata=[1]),
    compare("q1.accuracy.val", 0.5, [0.981, 0.982, 0.9815], decimals=4, errata=[11]),
    compare("q1.best_epoch", 205, [203.0], errata=[1, 99]),
]
ENVIRONMENT = {"revision": "0123456789abcdef-dirty", "python": "3.12.1", "fmx": "0.1.0",
               "torch": "2.11.0", "cpu": "A Processor", "cpu_count": 8}  # fmt: skip


def make_results(
    kind: str = "q1",
    *,
    tables: Sequence[Table] = (TABLE,),
    figures: Sequence[Figure] = (FIGURE,),
    comparisons: Sequence[Comparison] = tuple(COMPARISONS),
    errata: Sequence[Erratum] = tuple(ERRATA),
    **fields: Any,
) -> Results:
    """Results of the report's preset on Fashion-MNIST, unless the fields say otherwise."""
    return Results.model_validate(
        {
            "kind": kind,
            "preset": "report",
            "dataset": "fashion-mnist",
            "tables": tables,
            "figures": figures,
            "comparisons": comparisons,
            "errata": errata,
            **fields,
        }
    )


def make_job(
    results: Results | None = None, files: Mapping[str, bytes] = FILES, **fields: Any
) -> JobReport:
    """A job of three runs that took an hour, two minutes and three seconds."""
    results = results or make_results()
    runs = [{"name": f"seed-{seed}", "seed": seed, "seconds": 100.5} for seed in range(3)]
    values: dict[str, Any] = {
        "id": "01JD6S3V2M0000000000000000",
        "name": None,
        "results": results,
        "manifest": {
            "spec": {"seeds": [0, 1, 2], "max_epochs": 450},
            "spec_hash": "ab" * 32,
            "seeds": [0, 1, 2],
            "environments": [ENVIRONMENT],
            "devices": ["cpu"],
            "data": [{"half": "fm1", "checksums": {"train-images": "cd" * 32}}],
            "runs": runs,
        },
        "title": f"{results.kind.upper()}: one network trained to convergence.",
        "about": "A network learns.\n\nIt *stops* by itself.",
        "artifacts": files.__getitem__,
        "created_at": STARTED - timedelta(minutes=5),
        "started_at": STARTED,
        "finished_at": STARTED + timedelta(hours=1, minutes=2, seconds=3),
        **fields,
    }
    return JobReport(**values)
