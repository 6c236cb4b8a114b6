"""Trainings beside the report's own way: an epoch of each network, with its validation."""

import gzip
import itertools
import tempfile
from pathlib import Path

import torch

from benchmarks import report_loop
from benchmarks.measuring import Row, compare, interleave, peak_flops
from fmx_ml.data.loader import HalfData, load_half
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.evaluate import measure as evaluate
from fmx_ml.engine.evaluate import to_device
from fmx_ml.engine.objective import Classification
from fmx_ml.engine.train import make_optimiser, train_epoch
from fmx_ml.models import build
from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import CnnTraining
from fmx_store.settings import get_settings


def measure(rounds: int) -> list[Row]:
    """Every row about trainings."""
    settings = get_settings()
    sources = DataSources(settings.dataset_dir, settings.cache_dir)
    data = load_half("fashion-mnist", "fm1", 0, sources)
    with tempfile.TemporaryDirectory() as folder:
        raw = unpack(Path(folder), Path(data.source))
        return [measure_q1_epoch(data, raw, rounds)]


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


def measure_q1_epoch(data: HalfData, raw: Path, rounds: int) -> Row:
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
        evaluate(model, val, never)

    other_model = build(training.model, 5, torch.Generator().manual_seed(0))
    other_optimiser = make_optimiser(training.optimiser, other_model)
    loaders = report_loop.make_loaders(raw, training.batch_size)
    mine, theirs = interleave(
        ours, lambda: report_loop.run_epoch(other_model, other_optimiser, loaders), rounds
    )
    forward = training_flops(training) / 3
    flops = len(train) * training_flops(training) + len(val) * forward
    return compare(
        "q1_epoch", mine, theirs, limit_seconds=flops / peak_flops(), limit="matrix multiply"
    )


def unpack(folder: Path, source: Path) -> Path:
    """A folder as torchvision wants it, with the four files that lie in source, unpacked."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in source.rglob("*-ubyte*"):
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        (raw / file.name.removesuffix(".gz")).write_bytes(content)
    return folder
