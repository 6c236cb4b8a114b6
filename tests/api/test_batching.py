"""Pictures that go through a model together: who waits for whom, and that nobody is harmed."""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest
from model_files import ModelFiles

from api.predict.batching import MAX_ABREAST, MAX_BATCH, Batcher
from api.predict.sessions import Images, Session
from api.predict.statistics import BatchTimes, Register, Statistics
from api.problems import ProblemError
from fmx_ml.files import ONNX_FILE
from fmx_store.tables import Model
from fmx_store.viewers import EVERYONE, Viewer


class Gate:
    """A model that says of a picture its first pixel, and does not end before it may."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Semaphore(0)
        self.sizes: list[int] = []
        self.error: Exception | None = None

    def predict(self, images_NHW: Images) -> Any:
        self.sizes.append(len(images_NHW))
        self.started.release()
        assert self.open.wait(10)
        if self.error is not None:
            raise self.error
        return images_NHW[:, 0, :1].astype(np.float32)


@pytest.fixture
def executor() -> Generator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def gate() -> Generator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def make_batcher(gate: Gate, executor: ThreadPoolExecutor, max_waiting: int = 1000) -> Batcher:
    return Batcher(cast("Session", gate), executor, max_waiting)


def ask(batcher: Batcher, images_NHW: Images) -> Coroutine[Any, Any, Any]:
    """A request whose counts nobody looks at."""
    return batcher.predict(images_NHW, Statistics("", "", None))


def pictures(value: int, count: int = 1) -> Images:
    return np.full((count, 28, 28), value, np.uint8)


async def begin(batcher: Batcher, value: int, count: int = 1) -> "asyncio.Task[Any]":
    """A request that has reached the queue."""
    task = asyncio.create_task(ask(batcher, pictures(value, count)))
    await asyncio.sleep(0)
    return task


async def until_started(gate: Gate, num_batches: int = 1) -> None:
    for _ in range(num_batches):
        assert await asyncio.to_thread(gate.started.acquire, timeout=10)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_what_arrives_at_once_goes_together(gate: Gate, executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        gate.open.set()
        batcher = make_batcher(gate, executor)
        answers = await asyncio.gather(*(ask(batcher, pictures(n)) for n in range(20)))
        assert [answer.tolist() for answer in answers] == [[[n]] for n in range(20)]

    run(test())
    assert gate.sizes == [20]


def test_what_arrives_meanwhile_goes_together_next(
    gate: Gate, executor: ThreadPoolExecutor
) -> None:
    async def test() -> None:
        batcher = make_batcher(gate, executor)
        tasks = [await begin(batcher, 0)]
        await until_started(gate)
        tasks += [await begin(batcher, n, count=2) for n in range(1, 6)]
        gate.open.set()
        answers = await asyncio.gather(*tasks)
        assert [len(answer) for answer in answers] == [1, 2, 2, 2, 2, 2]
        assert [answer[-1, 0] for answer in answers] == [0, 1, 2, 3, 4, 5]

    run(test())
    assert gate.sizes == [1, 10]


def test_nobody_waits_long_for_a_slow_batch(gate: Gate, executor: ThreadPoolExecutor) -> None:
    """A second batch starts beside the first, a third does not."""

    async def test() -> None:
        batcher = make_batcher(gate, executor)
        tasks: list[asyncio.Task[Any]] = []
        for number in range(MAX_ABREAST):
            tasks.append(await begin(batcher, number))
            await until_started(gate)
        tasks.append(await begin(batcher, 9))
        await asyncio.sleep(0.05)
        assert len(gate.sizes) == MAX_ABREAST
        gate.open.set()
        assert [float(answer[0, 0]) for answer in await asyncio.gather(*tasks)] == [0, 1, 9]

    run(test())


def test_batches_are_bounded(gate: Gate, executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        gate.open.set()
        batcher = make_batcher(gate, executor)
        sizes = [MAX_BATCH - 1, 1, 1, MAX_BATCH + 50, 1]
        answers = await asyncio.gather(*(ask(batcher, pictures(7, n)) for n in sizes))
        assert [len(answer) for answer in answers] == sizes

    run(test())
    assert sorted(gate.sizes) == [1, 1, MAX_BATCH, MAX_BATCH + 50]


def test_a_full_queue_refuses_and_loses_nothing(gate: Gate, executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        batcher = make_batcher(gate, executor, max_waiting=10)
        running: list[asyncio.Task[Any]] = []
        for _ in range(MAX_ABREAST):
            running.append(await begin(batcher, 1))
            await until_started(gate)
        waiting = [await begin(batcher, 2, count=5) for _ in range(2)]
        with pytest.raises(ProblemError) as caught:
            await ask(batcher, pictures(3))
        assert (caught.value.problem.status, caught.value.problem.code) == (503, "overloaded")
        assert caught.value.problem.headers["Retry-After"] == "1"
        gate.open.set()
        answers = await asyncio.gather(*running, *waiting)
        assert [len(answer) for answer in answers] == [1] * MAX_ABREAST + [5, 5]
        assert len(await ask(batcher, pictures(4, 50))) == 50  # alone, more than may wait

    run(test())


def test_who_gives_up_harms_nobody(gate: Gate, executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        batcher = make_batcher(gate, executor)
        tasks: list[asyncio.Task[Any]] = []
        for number in range(MAX_ABREAST):
            tasks.append(await begin(batcher, number))
            await until_started(gate)
        tasks += [await begin(batcher, n) for n in (5, 6, 7)]
        tasks[0].cancel()  # in the model
        tasks[3].cancel()  # in the queue
        await asyncio.sleep(0)
        gate.open.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [float(a[0, 0]) for a in answers if not isinstance(a, BaseException)]
        assert kept == [1, 5, 7]
        assert gate.sizes == [1, 1, 2]

    run(test())


def test_an_error_of_the_model_reaches_its_batch_alone(
    gate: Gate, executor: ThreadPoolExecutor
) -> None:
    async def test() -> None:
        batcher = make_batcher(gate, executor)
        gate.open.set()
        gate.error = MemoryError("no room")
        both = (ask(batcher, pictures(1)), ask(batcher, pictures(2)))
        found = await asyncio.gather(*both, return_exceptions=True)
        assert [type(error) for error in found] == [MemoryError, MemoryError]
        gate.error = None
        assert (await ask(batcher, pictures(3)))[0, 0] == 3

    run(test())


def test_answers_are_those_of_each_picture_alone(
    made: ModelFiles, executor: ThreadPoolExecutor
) -> None:
    """With a real export, in batches of many sizes, of whole pixels and of others."""
    session = Session(made.files[ONNX_FILE], 1)
    batcher = Batcher(session, executor, 1000)
    images_NHW = made.test.images_NHW

    async def test() -> None:
        asks = [images_NHW[n : n + 1 + n % 5] for n in range(150)]
        asks += [ask.astype(np.float32) for ask in asks[:20]]
        for asked, answer in zip(
            asks, await asyncio.gather(*(ask(batcher, a) for a in asks)), strict=True
        ):
            alone = np.concatenate([session.predict(asked[n : n + 1]) for n in range(len(asked))])
            assert np.abs(answer - alone).max() < 1e-6

    run(test())


def test_requests_and_batches_are_counted(gate: Gate, executor: ThreadPoolExecutor) -> None:
    """Each request of a batch is counted in its model's own statistics, with the batch's times."""
    mine, other = Statistics("m", "j", None), Statistics("o", "j", None)

    async def test() -> None:
        gate.open.set()
        batcher = make_batcher(gate, executor)
        asked = [(2, mine), (3, mine), (1, other)]
        await asyncio.gather(*(batcher.predict(pictures(0, n), s) for n, s in asked))
        await batcher.predict(pictures(0), mine)

    run(test())
    assert (mine.num_pictures, mine.success.count, mine.num_batches) == (6, 3, 2)
    assert (other.num_pictures, other.success.count, other.num_batches) == (1, 1, 1)
    assert set(mine.batches) == {6, 1}
    assert set(other.batches) == {6}
    parts = (mine.queue, mine.compute.input, mine.compute.infer, mine.compute.output)
    assert [part.count for part in parts] == [3] * 4
    assert mine.success.ns == sum(part.ns for part in parts)
    assert mine.compute.infer.ns > 0
    assert mine.last_asked_ms > 1e12


def test_failures_are_counted(gate: Gate, executor: ThreadPoolExecutor) -> None:
    mine = Statistics("m", "j", None)

    async def test() -> None:
        gate.error = RuntimeError("broken")
        gate.open.set()
        batcher = make_batcher(gate, executor)
        with pytest.raises(RuntimeError):
            await batcher.predict(pictures(0), mine)

    run(test())
    assert (mine.fail.count, mine.success.count, mine.num_batches) == (1, 0, 0)


def test_models_that_are_asked_no_more_are_counted_together() -> None:
    register = Register(size=2)
    models = [
        Model(id=name, run_id="", job_id=f"job-{name}", kind="q1", run_name="", dataset="")
        for name in "abc"
    ]
    times = BatchTimes(0, 1, 2, 3)
    for model in models[:2]:
        register.of(model).note_request(5, 0, times)
    assert register.of(models[0]).num_pictures == 5
    register.of(models[2])
    assert [s.model_id for s in register.seen_by(EVERYONE)] == ["c", "a"]
    assert register.all_seen_by(EVERYONE)[-1].num_pictures == 5
    register.forget_job("job-a")
    assert [s.model_id for s in register.seen_by(EVERYONE)] == ["c"]
    others = register.all_seen_by(EVERYONE)[-1]
    assert (others.model_id, others.num_pictures, others.success.count) == ("", 10, 2)
    assert register.all_seen_by(Viewer("ada", sees_all=False)) == []
