"""The clients against a real server; the test plays the worker through the record."""

import asyncio
import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from http_service import Service, epoch, serve
from services import Column, free_port
from stand_in import LEASE_SECONDS

from fmx_client import AsyncClient, Client, errors
from fmx_client.types import Epoch, Validation
from fmx_store import claims

FIGURE = bytes(range(256)) * 400


@pytest.fixture
def client(service: Service) -> Generator[Client]:
    with Client(service.server.url) as made:
        yield made


@contextmanager
def _in_background(work: Callable[[], object]) -> Generator[None]:
    """Work in a thread meanwhile; what goes wrong there goes wrong here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


def test_what_a_kind_offers_can_be_asked(client: Client) -> None:
    assert "q1" in [kind.kind for kind in client.kinds()]
    one = client.kind("q1")
    assert one.request_schema is not None
    assert one.defaults is not None
    assert {"report", "quick"} <= set(one.presets or {})
    validation = client.validate("q1", preset="quick", spec={"seeds": [1, 2]})
    assert isinstance(validation, Validation)
    assert [run.name for run in validation.runs] == ["seed-1", "seed-2"]
    assert validation.estimate is not None


def test_a_job_goes_its_way(service: Service, client: Client) -> None:
    job = client.submit("q1", name="first", tags=["a", "b"], priority=7, spec={"seeds": [3]})
    assert (job.state, job.name, job.tags, job.priority) == ("queued", "first", ["a", "b"], 7)
    assert job.created_at.utcoffset() is not None
    assert not job.ended
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, [epoch(1), epoch(2)], phase="training")
    job = client.job(job.id)
    assert (job.state, job.progress.phase, job.progress.completed) == ("running", "training", 2)
    assert (job.runs.running, job.runs.total) == (1, 1)
    (run,) = client.runs(job.id)
    assert (run.name, run.job, run.attempt) == ("seed-3", job.id, 1)
    assert client.run(run.id) == run
    epochs = client.metrics(run.id).epochs()
    assert [e.epoch for e in epochs] == [1, 2]
    assert epochs[0].val_accuracy == 0.5
    assert epochs[0].train_accuracy is None
    assert [e.epoch for e in client.metrics(run.id, max_points=1).epochs()] == [2]
    with pytest.raises(errors.NotReadyError) as caught:
        client.results(job.id)
    assert caught.value.retry_after
    service.succeed(claim, {})
    service.collate({"figure-1.png": FIGURE})
    assert client.wait(job.id, check=True).state == "succeeded"
    body = client.results(job.id)
    assert body.tables[0].rows == [["x", 1.5], ["y", None]]
    assert client.manifest(job.id)["seeds"] == [3]
    client.delete(job.id)
    with pytest.raises(errors.NotFoundError):
        client.job(job.id)


def test_files_come_one_by_one_and_together(
    service: Service, client: Client, tmp_path: Path
) -> None:
    odd = "seed-0/odd näme #1?.bin"
    job_id = service.run_to_success(
        files={odd.removeprefix("seed-0/"): FIGURE},
        job_files={"figure-1.png": FIGURE[:300], "empty.csv": b""},
    )
    found = {artifact.path: artifact for artifact in client.artifacts(job_id)}
    assert set(found) == {odd, "figure-1.png", "empty.csv"}
    for path, artifact in found.items():
        got = client.download(job_id, artifact, tmp_path / "one" / path)
        assert hashlib.sha256(got.read_bytes()).hexdigest() == artifact.sha256
    assert client.download(job_id, odd, tmp_path / "again").read_bytes() == FIGURE
    archive = zipfile.ZipFile(client.archive(job_id, tmp_path / "all.zip"))
    assert archive.read(odd) == FIGURE
    assert archive.testzip() is None
    some = zipfile.ZipFile(client.archive(job_id, tmp_path / "some.zip", prefix="seed-0/"))
    assert some.namelist() == [odd]


def test_a_download_goes_on_by_range(service: Service, client: Client, tmp_path: Path) -> None:
    job_id = service.run_to_success(job_files={"f.bin": FIGURE})
    (artifact,) = client.artifacts(job_id)
    client.download(job_id, artifact, tmp_path / "f.bin")
    whole = tmp_path / "f.bin"
    name = hashlib.sha256(b"f.bin").hexdigest()[:12]
    (tmp_path / f".fmx-{name}-{artifact.sha256}.part").write_bytes(FIGURE[:1000])
    whole.unlink()
    statuses: list[int] = []
    client._http.event_hooks["response"] = [lambda r: statuses.append(r.status_code)]
    assert client.download(job_id, artifact, whole).read_bytes() == FIGURE
    client.download(job_id, artifact, whole)
    assert statuses == [206, 304]


def test_every_page_is_listed(client: Client) -> None:
    ids = [client.submit("q1", tags=["many"]).id for _ in range(5)]
    client.submit("q1")
    found = [job.id for job in client.jobs(tag="many", state="queued", kind="q1")]
    assert found == ids[::-1]
    assert [job.id for job in client.jobs(tag="many", limit=2)] == ids[:-3:-1]


def test_a_key_submits_once(client: Client) -> None:
    first = client.submit("q1", idempotency_key="mine")
    assert client.submit("q1", idempotency_key="mine").id == first.id
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.submit("q1", preset="quick", idempotency_key="mine")
    assert caught.value.code == "idempotency_mismatch"


def test_a_spec_that_does_not_fit_names_the_place(client: Client) -> None:
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.submit("q1", spec={"model": {"conv_layers": 2, "kernel_size": 15}, "sedes": [1]})
    assert "/spec/sedes" in [error.pointer for error in caught.value.errors]
    assert list(client.jobs()) == []


def test_cancel_and_retry(service: Service, client: Client) -> None:
    job = client.submit("q1")
    assert client.cancel(job.id).state == "cancelled"
    with pytest.raises(errors.ConflictError):
        client.cancel(job.id)
    with pytest.raises(errors.JobCancelledError):
        client.wait(job.id, check=True)
    assert client.retry(job.id).state == "queued"
    service.fail(service.claim())
    with pytest.raises(errors.JobFailedError, match="the loss is nan") as caught:
        client.wait(job.id, check=True)
    assert caught.value.job.reason == "nan_loss"


def test_watch_hands_on_every_change(service: Service, client: Client) -> None:
    job = client.submit("q1")
    seen: list[tuple[str, int]] = []
    claim = None
    for now in client.watch(job.id):
        seen.append((now.state, now.progress.completed))
        if claim is None:
            claim = service.claim()
        elif now.progress.completed < 3:
            number = now.progress.completed + 1
            claims.record_progress(service.db, claim.lease, [epoch(number)], phase="training")
        elif now.state == "running" and now.runs.running:
            service.succeed(claim, {})
            service.collate({})
    running = [("running", number) for number in range(4)]
    assert seen == [("queued", 0), *running, ("succeeded", 3)]


def test_a_poll_that_is_held_ends_with_the_change(client: Client) -> None:
    job = client.submit("q1")
    acted_at: list[float] = []

    def work() -> None:
        time.sleep(1.5)
        acted_at.append(time.monotonic())
        client.cancel(job.id)

    with _in_background(work):
        assert client.wait(job.id).state == "cancelled"
        assert time.monotonic() - acted_at[0] < 10


def test_metrics_can_be_followed_through_a_second_attempt(service: Service, client: Client) -> None:
    job = client.submit("q1")
    claim = service.claim()
    (run,) = client.runs(job.id)
    claims.record_progress(service.db, claim.lease, [epoch(1), epoch(2)], phase="training")
    followed: list[tuple[int, float | None]] = []
    for now in client.follow_metrics(run.id):
        followed.append((now.epoch, now.val_loss))
        if now.epoch == 2 and now.val_loss == 1.0:
            claims.hand_back(service.db, claim.lease)
            claim = service.claim()
            again = [epoch(1), epoch(2, val_loss=0.125)]
            claims.record_progress(service.db, claim.lease, again, phase="training")
        elif now.epoch == 2:
            claims.record_progress(service.db, claim.lease, [epoch(3)])
            service.succeed(claim, {})
    assert followed == [(1, 2.0), (2, 1.0), (2, 0.125), (3, pytest.approx(2 / 3))]


def test_a_wait_outlives_the_server(embedded_column: Column, tmp_path: Path) -> None:
    settings = embedded_column.settings(port=free_port(), lease_seconds=LEASE_SECONDS)
    looking, ended = threading.Event(), list[str]()

    def work(url: str, job_id: str) -> None:
        with Client(url) as client:
            job = client.wait(job_id, timeout_seconds=60, on_change=lambda _: looking.set())
            ended.append(job.state)

    with serve(settings, tmp_path) as service:
        job_id: str = service.submit()["id"]
        waiting = threading.Thread(target=work, args=(service.server.url, job_id))
        waiting.start()
        assert looking.wait(20)
        claim = service.claim()
    time.sleep(1.5)
    with serve(settings, tmp_path) as service:
        service.succeed(claim, {})
        service.collate({})
        waiting.join(30)
    assert ended == ["succeeded"]


def test_the_asyncio_client_does_the_same(service: Service, tmp_path: Path) -> None:
    async def go() -> None:
        async with AsyncClient(service.server.url) as client:
            jobs = await asyncio.gather(
                *(client.submit("q1", spec={"seeds": [i]}) for i in range(3))
            )
            assert {job.id async for job in client.jobs()} == {job.id for job in jobs}
            await client.cancel(jobs[1].id)
            await client.cancel(jobs[2].id)
            watching = asyncio.create_task(_collect(client, jobs[0].id))
            claim = await asyncio.to_thread(service.claim)
            (run,) = [run async for run in client.runs(jobs[0].id)]
            following = asyncio.create_task(_epochs(client, run.id))
            await asyncio.to_thread(_finish, service, claim)
            assert (await watching)[-1] == "succeeded"
            assert [e.epoch for e in await following] == [1, 2]
            got = await client.download(jobs[0].id, "figure-1.png", tmp_path / "f.png")
            assert got.read_bytes() == FIGURE
            with pytest.raises(errors.NotFoundError):
                await client.model("01ARZ3NDEKTSV4RRFFQ69G5FAV")

    asyncio.run(go())


def _finish(service: Service, claim: claims.Claim) -> None:
    claims.record_progress(service.db, claim.lease, [epoch(1), epoch(2)], phase="training")
    service.succeed(claim, {})
    service.collate({"figure-1.png": FIGURE})


async def _collect(client: AsyncClient, job_id: str) -> list[str]:
    return [job.state async for job in client.watch(job_id)]


async def _epochs(client: AsyncClient, run_id: str) -> list[Epoch]:
    return [epoch async for epoch in client.follow_metrics(run_id)]


def test_what_the_server_says_of_itself_is_what_the_types_know(
    service: Service, client: Client
) -> None:
    """Every field of a body that the server documents has its place in a type."""
    job_id = service.run_to_success(model=False, job_files={"figure-1.png": FIGURE})
    for found in (
        client.job(job_id),
        next(client.runs(job_id)),
        next(client.artifacts(job_id)),
        client.results(job_id),
        client.kind("q1"),
        client.validate("q1"),
    ):
        assert not found.model_extra, type(found)
        dumped: Any = json.loads(found.model_dump_json(by_alias=True))
        assert type(found).model_validate(dumped) == found
