"""Trainings beside the report's own loop: epochs of Q1 to Q3, and all runs of a kind of Q4 and Q5.

Whole runs take hours in the report's loop. An epoch is timed, or a part of one, and scaled by the
pictures in it; a run is its epochs. Ours are timed as jobs run them: on all threads where a row is
of one training, else handed out to two processes of one thread.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks import flops
from benchmarks.dataloader_loop import DataLoaderLoop
from benchmarks.dataset import unpack
from benchmarks.engine import Crew, Engine, train_source
from benchmarks.measuring import Row, compare, peak_flops, seconds_of, take_turns
from benchmarks.report_loop import Loop, Report
from fmx_ml.data.loader import load_half
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.evaluate import to_device
from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import (
    AutoencoderTraining,
    CnnTraining,
    MlpTraining,
    Transfer,
    training_hash,
)
from fmx_store.settings import get_settings

NUM_TRAIN, NUM_VAL = 25_000, 5_000  # pictures of a half, each epoch
NUM_AUTOENCODER = 60_000  # that an autoencoder learns from in an epoch

Q2_EPOCHS = 21  # of a run: the shortest of the ten; the longest have 300
AUTOENCODER_EPOCHS = 5  # of a run: the report's rule ends nearly all of them there
FROZEN_EPOCHS = 106  # of a run: the fewest that a frozen transfer was seen to take

LIMIT = "matrix multiply"

FitTraining = CnnTraining | MlpTraining | AutoencoderTraining
T = TypeVar("T", CnnTraining, MlpTraining, AutoencoderTraining)


@dataclass(frozen=True)
class Bench:
    """What every row needs."""

    report: Report
    engine: Engine
    crew: Crew
    rounds: int


def measure(rounds: int) -> Iterator[Row]:
    """Every row about trainings."""
    settings = get_settings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(folder, DataSources(settings.dataset_dir, settings.cache_dir))
        engine = Engine(DataSources(folder, folder, download=False))
        with Crew(engine) as crew:
            bench = Bench(Report(folder), engine, crew, rounds)
            yield from measure_q1(bench)
            yield measure_q2(bench)
            yield measure_q3(bench)
            yield measure_mlps(bench)
            yield measure_autoencoders(bench)
            yield measure_frozen(bench, folder / "source")


def measure_q1(bench: Bench, num_epochs: int = 2) -> Iterator[Row]:
    """One training on all cores: with and without a compiled kernel, and beside a DataLoader."""
    (training,) = shorten(pick("q1", "seed-", CnnTraining), num_epochs)
    data = load_half("fashion-mnist", "fm1", 0, bench.engine.sources)
    examples = [to_device(part, torch.device("cpu")) for part in (data.train, data.val)]
    loader, loop = DataLoaderLoop(training, *examples), bench.report.cnn(training)
    plain = replace(bench.engine, name="torch")
    ours, without, batches, theirs = take_turns(
        [
            lambda: bench.engine.time([training]).epochs / num_epochs,
            lambda: plain.time([training]).epochs / num_epochs,
            lambda: seconds_of(loader.run_epoch),
            lambda: sum(loop.time_epoch()),
        ],
        bench.rounds,
    )
    limit = limit_seconds([training])
    note = "an epoch and its validation"
    yield compare("q1_epoch", ours, theirs, limit_seconds=limit, limit=LIMIT, note=note)
    note = "without a compiler: plain PyTorch"
    yield compare(
        "q1_epoch_no_compiler", without, theirs, limit_seconds=limit, limit=LIMIT, note=note
    )
    note = "the other side: a DataLoader of whole batches, validation in batches of 1,000"
    yield compare(
        "q1_epoch_vs_dataloader", ours, batches, limit_seconds=limit, limit=LIMIT, note=note
    )


def measure_q2(bench: Bench, share: float = 0.05, num_epochs: int = 3) -> Row:
    """The ten models, an epoch each, with its part of what comes before a run's first."""
    trainings = shorten(pick("q2", "model-", CnnTraining), num_epochs)
    loops = [bench.report.cnn(training) for training in trainings]
    ours, theirs = take_turns(
        [
            lambda: bench.crew.seconds(trainings, Q2_EPOCHS / num_epochs) / Q2_EPOCHS,
            lambda: sum(sum(loop.time_epoch(share)) for loop in loops),
        ],
        bench.rounds,
    )
    note = f"ten models, an epoch of {Q2_EPOCHS} each, from {num_epochs}; of the loop's {share:.0%}"
    row = tell("q2_run_epochs", (ours, theirs), trainings, note)
    rates = f"{len(trainings) / row.ours:.3g} against {len(trainings) / (row.other or 1):.3g}"
    return replace(row, note=f"{note}; {rates} run-epochs a second")


def measure_q3(bench: Bench, share: float = 0.1) -> Row:
    """One training of four convolutions on all cores."""
    (training,) = shorten(pick("q3", "seed-", CnnTraining), 1)
    loop = bench.report.cnn(training)
    taken = take_turns(
        [
            lambda: bench.engine.time([training]).epochs,
            lambda: sum(loop.time_epoch(share)),
        ],
        bench.rounds,
    )
    return tell("q3_epoch", taken, [training], f"an epoch; of the loop's {share:.0%}")


def measure_mlps(bench: Bench, share: float = 0.05) -> Row:
    """The perceptrons of every fraction, with weights drawn at random."""
    whole = pick("q4", "mlp-random-", MlpTraining)
    times = whole[0].max_epochs
    trainings, loop = shorten(whole, 1), bench.report.mlp(whole[-1])
    taken = take_turns(
        [
            lambda: bench.crew.seconds(trainings, times),
            lambda: times * of_fractions(loop, share, trainings),
        ],
        bench.rounds,
    )
    note = f"{len(trainings)} runs of {times} epochs, from one epoch; of the loop's {share:.0%}"
    return tell("mlp_runs", taken, trainings, note, times)


def measure_autoencoders(bench: Bench, share: float = 0.05) -> Row:
    """The grid's autoencoders of the report's structure and rate, one of each batch size."""
    grid = pick("q4", "autoencoder-", AutoencoderTraining)
    best = pick("q4", "autoencoder-20-", AutoencoderTraining)[0]
    alike = [t for t in grid if (t.model, t.optimiser) == (best.model, best.optimiser)]
    trainings, times = shorten(alike, 1), AUTOENCODER_EPOCHS
    loops = [bench.report.autoencoder(training) for training in trainings]
    taken = take_turns(
        [
            lambda: bench.crew.seconds(trainings, times),
            lambda: times * sum(sum(loop.time_epoch(share)) for loop in loops),
        ],
        bench.rounds,
    )
    sizes = ", ".join(str(training.batch_size) for training in trainings)
    note = f"batches of {sizes}; {times} epochs, from one epoch; of the loop's {share:.0%}"
    return tell("autoencoder_runs", taken, trainings, note, times)


def measure_frozen(bench: Bench, folder: Path, num_epochs: int = 10, share: float = 0.1) -> Row:
    """The transfers of every fraction that train the last layer alone.

    The network that they start from was trained for an epoch only: its weights are as many.
    """
    (source,) = shorten(pick("q5", "fmnist2-best-", CnnTraining), 1)
    run = train_source(source, folder, bench.engine.sources)
    transfer = Transfer(source=training_hash(source), trained="last_layer")
    trainings = [
        training.model_copy(update={"transfer": transfer})
        for training in shorten(pick("q5", "frozen-", CnnTraining), num_epochs)
    ]
    loop, times = bench.report.cnn(trainings[-1]), FROZEN_EPOCHS
    with Crew(replace(bench.engine, needed=[run])) as crew:
        taken = take_turns(
            [
                lambda: crew.seconds(trainings, times / num_epochs),
                lambda: times * of_fractions(loop, share, trainings),
            ],
            bench.rounds,
        )
    note = f"{len(trainings)} runs of {times} epochs, from {num_epochs}; of the loop's {share:.0%}"
    return tell("frozen_transfer_runs", taken, trainings, note, times)


def pick(kind: str, prefix: str, task: type[T]) -> list[T]:
    """The report's trainings of a question whose names begin so."""
    runs = plan(parse_request({"kind": kind}))
    named = [run.training for run in runs if run.name.startswith(prefix)]
    return [training for training in named if isinstance(training, task)]


def shorten(trainings: Sequence[T], num_epochs: int) -> list[T]:
    """The same trainings for so many epochs, without an early stop."""
    changes = {"max_epochs": num_epochs, "early_stopping": None}
    return [training.model_copy(update=changes) for training in trainings]


def of_fractions(loop: Loop, share: float, trainings: Sequence[CnnTraining | MlpTraining]) -> float:
    """An epoch of each in the report's loop, by the seconds of an epoch of all pictures."""
    training, watching = loop.time_epoch(share)
    fraction = sum(each.fraction_percent for each in trainings) / 100
    return training * fraction + watching * len(trainings)


def tell(
    name: str,
    taken: Sequence[Sequence[float]],
    trainings: Sequence[FitTraining],
    note: str,
    times: float = 1.0,
) -> Row:
    """The row of trainings that took so long, each for so many epochs."""
    limit = times * limit_seconds(trainings)
    ours, theirs = taken
    return compare(name, ours, theirs, limit_seconds=limit, limit=LIMIT, note=note)


def limit_seconds(trainings: Sequence[FitTraining]) -> float:
    """Seconds of an epoch of each if nothing but its products took time, at the measured peak."""
    return sum(epoch_flops(training) for training in trainings) / peak_flops()


def epoch_flops(training: FitTraining) -> float:
    """Arithmetic of an epoch and its validation; of a frozen network, that of the last layer."""
    counted = flops.count(training.model)
    if isinstance(training, AutoencoderTraining):
        return NUM_AUTOENCODER * counted.step + NUM_VAL * counted.forward
    if isinstance(training, CnnTraining) and training.transfer is not None:
        counted = flops.count_last_layer(training.model)
    num_train = NUM_TRAIN * training.fraction_percent / 100
    return num_train * counted.step + NUM_VAL * counted.forward
