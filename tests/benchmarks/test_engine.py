"""Ours is timed as the pipelines run it."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from benchmarks import engine
from benchmarks.dataloader_loop import DataLoaderLoop
from benchmarks.engine import Crew, Engine, Stopwatch, Timing, make_packs, train_source
from benchmarks.training import pick, shorten
from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources, FullData, Pictures
from fmx_ml.engine.evaluate import Examples
from fmx_ml.errors import UserError
from fmx_ml.pipelines import common
from fmx_ml.sinks import EpochMetrics
from fmx_ml.trainings import CnnTraining, MlpTraining, Transfer, training_hash

NOWHERE = DataSources(None, Path("nowhere"), download=False)


@pytest.fixture
def half(noise: FullData, monkeypatch: pytest.MonkeyPatch) -> HalfData:
    """Fifty pictures of each class to learn from, ten to validate and ten to test with."""
    five = Pictures(noise.train.images_NHW[:250], noise.train.labels_N[:250] % 5)
    few = Pictures(noise.test.images_NHW[:50], noise.test.labels_N[:50] % 5)
    names = ("a", "b", "c", "d", "e")
    data = HalfData("fashion-mnist", "fm1", five, few, few, (0, 1, 4, 5, 8), names, "drawn", {})
    monkeypatch.setattr(common, "load_half", lambda *_: data)
    return data


def test_a_watch_splits_setup_and_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 14.0, 15.0, 17.0])
    monkeypatch.setattr(engine.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    watch.begin()
    watch.begin()  # a pack's second member
    for seconds in (3.0, 1.0, 2.0):
        watch.epoch(EpochMetrics(epoch=1, seconds=seconds))
    assert watch.read() == Timing(setup=1.0, epochs=6.0)


def test_a_run_has_one_setup_and_many_epochs() -> None:
    assert Timing(setup=1.0, epochs=6.0).of_run(10) == 61.0


def test_nothing_trained_is_no_timing() -> None:
    with pytest.raises(RuntimeError, match="nothing was trained"):
        Stopwatch().read()


def test_an_error_of_a_training_is_an_error() -> None:
    transfer = Transfer(source="0" * 64, trained="last_layer")
    (training,) = shorten(pick("q5", "frozen-005-", CnnTraining), 1)
    lost = training.model_copy(update={"transfer": transfer})
    with pytest.raises(UserError):
        Engine(NOWHERE, 1).time([lost])
    with pytest.raises(UserError):
        Engine(NOWHERE, 1).time([lost, lost])


@pytest.mark.usefixtures("half")
def test_transfers_are_timed_from_a_finished_run(tmp_path: Path) -> None:
    (source,) = shorten(pick("q5", "fmnist2-best-", CnnTraining), 1)
    run = train_source(source, tmp_path, NOWHERE)
    transfer = Transfer(source=training_hash(source), trained="last_layer")
    (training,) = shorten(pick("q5", "frozen-100-", CnnTraining), 3)
    training = training.model_copy(update={"transfer": transfer})
    ours = Engine(NOWHERE, 1, needed=[run])
    for trainings in ([training], [training, training]):
        timing = ours.time(trainings)
        assert timing.setup > 0  # the features
        assert timing.epochs > 0


def test_a_crew_shares_the_seconds_of_all_among_its_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    monkeypatch.setattr(Engine, "time", lambda *_: Timing(setup=1.0, epochs=2.0))
    trainings = pick("q4", "mlp-random-", MlpTraining)[:3]
    with Crew(Engine(NOWHERE)) as crew:
        assert crew.seconds(trainings, 4) == 3 * (1 + 4 * 2) / 2
        assert crew.seconds(trainings[:1], 4) == 1 + 4 * 2


def test_a_crew_trains_with_one_thread_and_its_orders_reach_other_processes() -> None:
    with Crew(Engine(NOWHERE)) as crew:
        here, there = multiprocessing.Pipe()
        here.send(crew.engine)
        assert there.recv() == Engine(NOWHERE, num_threads=1)


def test_trainings_are_packed_as_workers_pack_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "pack_key", lambda training: None if training.seed else "alike")
    monkeypatch.setattr(engine, "pack_limit", lambda *_: 2)
    (training,) = pick("q4", "mlp-random-005-", MlpTraining)
    other = training.model_copy(update={"seed": 1})
    packs = make_packs([training, training, training, other, other])
    assert packs == [[training, training], [training], [other], [other]]


def test_the_engine_that_is_named_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def train(_: object, sink: engine.TimingSink, **options: object) -> None:
        asked.append(options["engine"])
        sink.phase("training")
        sink.epoch(EpochMetrics(epoch=1, seconds=0.1))

    monkeypatch.setattr(engine, "train", train)
    Engine(NOWHERE, name="torch").time(pick("q1", "seed-", CnnTraining))
    assert asked == ["torch"]


def test_the_plain_loop_learns() -> None:
    (training,) = pick("q1", "seed-0", CnnTraining)
    labels = torch.arange(120) % 5
    images = torch.zeros(120, 1, 28, 28) + labels[:, None, None, None] / 2 - 1
    examples = Examples(images, labels)
    loop = DataLoaderLoop(training.model_copy(update={"batch_size": 8}), examples, examples)
    first, _ = loop.run_epoch()
    for _ in range(4):
        last, accuracy = loop.run_epoch()
        assert last < first
        assert 0 <= accuracy <= 1
