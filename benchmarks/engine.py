"""The engine as jobs use it, through the pipelines' own door, and how long it takes."""

import contextlib
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from fmx_ml.data.sources import DataSources
from fmx_ml.engine.kernel.library import Engine as EngineName
from fmx_ml.errors import StoppedError
from fmx_ml.packs import pack_key, pack_limit
from fmx_ml.pipelines import Member, train, train_pack
from fmx_ml.results import NeededRun, RunOutcome
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.trainings import Training

NUM_PROCESSES = 2  # a core each, as workers train


@dataclass(frozen=True)
class Timing:
    """Seconds of a training or a pack: what comes before its first epoch, and its epochs."""

    setup: float
    epochs: float

    def of_run(self, times: float = 1.0) -> float:
        """Of a run that has so many times the epochs."""
        return self.setup + times * self.epochs


class Stopwatch:
    """When a training began, its first epoch ended and its last one did; of a pack, anyone's."""

    def __init__(self) -> None:
        """Nothing has begun."""
        self._began: list[float] = []
        self._ended: list[float] = []
        self._first_seconds = 0.0

    def begin(self) -> None:
        """Data is there, and the training begins."""
        self._began.append(time.perf_counter())

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch has ended."""
        if not self._ended:
            self._first_seconds = metrics.seconds
        self._ended.append(time.perf_counter())

    def read(self) -> Timing:
        """The seconds. Raises RuntimeError where no epoch has ended."""
        if not self._ended:
            raise RuntimeError("nothing was trained")
        first = self._ended[0] - self._first_seconds
        return Timing(max(0.0, first - self._began[0]), self._ended[-1] - first)


class TimingSink(FolderSink):
    """Ends the pipeline where the training has ended: what follows is not measured here."""

    def __init__(self, folder: Path, watch: Stopwatch) -> None:
        """Members of a pack share a watch."""
        super().__init__(folder)
        self._watch = watch

    def phase(self, name: str) -> None:
        if name == "training":
            self._watch.begin()
        if name == "evaluation":
            raise StoppedError("trained, which is all that is measured")

    def epoch(self, metrics: EpochMetrics) -> None:
        self._watch.epoch(metrics)


@dataclass(frozen=True)
class Engine:
    """How to train: where the data lies, the runs to start from, the threads and the engine.

    `name` is auto or torch, which is the same without compiled kernels.
    """

    sources: DataSources
    num_threads: int | None = None
    name: EngineName = "auto"
    needed: Sequence[NeededRun] = ()

    def time(self, trainings: Sequence[Training]) -> Timing:
        """How long the trainings take together. Raises what ended one of them."""
        watch = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            sinks = [TimingSink(Path(folder) / str(n), watch) for n in range(len(trainings))]
            if len(trainings) == 1:
                self._train(trainings[0], sinks[0])
            else:
                self._train_pack(trainings, sinks)
        return watch.read()

    def _train(self, training: Training, sink: TimingSink) -> None:
        with contextlib.suppress(StoppedError):
            train(
                training,
                sink,
                sources=self.sources,
                device="cpu",
                num_threads=self.num_threads,
                needed=self.needed,
                engine=self.name,
            )

    def _train_pack(self, trainings: Sequence[Training], sinks: Sequence[TimingSink]) -> None:
        outcomes: list[dict[str, Any] | Exception] = []
        train_pack(
            [Member(*pair, self.needed) for pair in zip(trainings, sinks, strict=True)],
            sources=self.sources,
            device="cpu",
            num_threads=self.num_threads,
            ended=lambda _, outcome: outcomes.append(outcome),
            engine=self.name,
        )
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, StoppedError):
                raise outcome


class Crew:
    """Processes of one thread each, to which trainings are handed out as workers take them."""

    def __init__(self, engine: Engine) -> None:
        """The processes come up with the first training."""
        self.engine = replace(engine, num_threads=1)
        self._pool = ProcessPoolExecutor(NUM_PROCESSES, mp_context=get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def seconds(self, trainings: Sequence[Training], times: float = 1.0) -> float:
        """How long they take all of them together, each with so many times the epochs."""
        packs = make_packs(trainings)
        timings = list(self._pool.map(self.engine.time, packs))
        return sum(timing.of_run(times) for timing in timings) / min(NUM_PROCESSES, len(packs))


def make_packs(trainings: Sequence[Training]) -> list[list[Training]]:
    """The trainings in their order, those together that a worker of the CPU would take together."""
    packs: list[list[Training]] = []
    for training in trainings:
        key = pack_key(training)
        fits = key is not None and bool(packs) and pack_key(packs[-1][0]) == key
        if fits and len(packs[-1]) < pack_limit(training, "cpu"):
            packs[-1].append(training)
        else:
            packs.append([training])
    return packs


def train_source(training: Training, folder: Path, sources: DataSources) -> NeededRun:
    """A finished run for others to start from."""
    sink = FolderSink(folder)
    summary = train(training, sink, sources=sources, device="cpu")
    outcome = RunOutcome(name="source", training=training, history=sink.history, summary=summary)
    return NeededRun(outcome=outcome, files={name: sink.path(name) for name in sink.artifacts})
