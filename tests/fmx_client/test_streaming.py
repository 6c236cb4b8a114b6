"""Events and logs through both clients: exact over broken connections."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import pytest
from http_service import Service, epoch, wait_until
from listening import Heard, metrics_of, replay
from stand_in import URL, StandIn, job, problem
from tcp_proxy import Proxy

from fmx_client import AsyncClient, Client, errors
from fmx_client.streaming import _Place
from fmx_client.types import JobEvent
from fmx_store import claims
from fmx_store.claims import Claim
from fmx_store.logs import Logged
from fmx_store.progress import Progress

T = TypeVar("T")

DROPS = 12


def heard_of(events: list[JobEvent]) -> list[Heard]:
    return [Heard(event.id, event.event, event.data) for event in events]


@contextmanager
def proxied(service: Service) -> Generator[Proxy]:
    with Proxy(int(service.server.url.rpartition(":")[2])).running() as proxy:
        yield proxy


def train_through_drops(service: Service, proxy: Proxy, seen: Callable[[int], bool]) -> None:
    """A run that logs and trains, while the connections of who listens break."""
    claim, written = service.claim(), 0
    for number in range(1, DROPS + 1):
        line = f"line {number}\n".encode()
        progress = Progress([epoch(number)], logged=Logged(written, line, 10_000))
        claims.record_all(service.db, {claim.lease: progress})
        written += len(line)
        wait_until(lambda number=number: seen(number), 30)
        proxy.cut()
    end(service, claim)


def end(service: Service, claim: Claim) -> None:
    service.succeed(claim, {})
    service.collate({})


def collect(items: Iterator[T], found: list[T]) -> threading.Thread:
    """A thread that fills a list with what comes."""

    def fill() -> None:
        for item in items:
            found.append(item)  # noqa: PERF402 - each as it comes

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    return thread


def num_epochs(found: list[JobEvent]) -> int:
    return sum(map(len, replay(heard_of(found)).values()))


def test_events_come_once_each_over_broken_connections(service: Service) -> None:
    job_id = service.submit()["id"]
    found: list[JobEvent] = []
    with proxied(service) as proxy, Client(f"http://127.0.0.1:{proxy.port}") as client:
        thread = collect(client.events(job_id), found)
        train_through_drops(service, proxy, lambda number: num_epochs(found) >= number)
        thread.join(timeout=30)
        assert not thread.is_alive()
        assert list(client.events(job_id, found[-1].id)) == []
        rest = list(client.events(job_id, found[2].id))
    assert [event.event for event in found].count("end") == 1
    assert replay(heard_of(found)) == metrics_of(service.client, job_id)
    assert replay(heard_of([*found[:3], *rest])) == metrics_of(service.client, job_id)


def test_a_log_that_is_followed_comes_once_over_broken_connections(service: Service) -> None:
    job_id = service.submit()["id"]
    found: list[str] = []
    with proxied(service) as proxy, Client(f"http://127.0.0.1:{proxy.port}") as client:
        thread = collect(client.logs(job_id, follow=True), found)
        train_through_drops(service, proxy, lambda number: len(found) >= number)
        thread.join(timeout=30)
        assert not thread.is_alive()
        assert list(client.logs(job_id)) == found
        assert list(client.logs(job_id, tail=2)) == found[-2:]
    assert [line.rpartition("#1 ")[2] for line in found] == [
        f"line {number}" for number in range(1, DROPS + 1)
    ]


def test_the_async_client_does_the_same(service: Service) -> None:
    job_id = service.run_to_success()

    async def listen() -> tuple[list[JobEvent], list[str]]:
        async with AsyncClient(service.server.url) as client:
            events = [event async for event in client.events(job_id)]
            return events, [line async for line in client.logs(job_id)]

    events, lines = asyncio.run(listen())
    with Client(service.server.url) as client:
        assert list(client.events(job_id)) == events
    assert events[-1].event == "end"
    assert lines == []


def test_a_listener_that_leaves_lets_go(service: Service) -> None:
    job_id = service.submit()["id"]
    with Client(service.server.url) as client:
        events = client.events(job_id)
        assert next(events).data["state"] == "queued"
        events.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator
        began = time.monotonic()
        assert client.job(job_id).state == "queued"
        assert time.monotonic() - began < 5


def line(event_id: str, name: str = "job") -> bytes:
    return json.dumps({"id": event_id, "event": name, "data": {}}).encode() + b"\n"


def test_a_stream_that_ends_early_is_taken_up_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fmx_client.client.time.sleep", lambda _: None)
    answers = [
        httpx.Response(200, content=line("1") + b"\n" + line("2")[:-5]),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=line("2") + line("2-end", "end")),
    ]
    server = StandIn(answers)
    with Client(URL, transport=server.transport) as client:
        assert [event.id for event in client.events("x")] == ["1", "2", "2-end"]
    assert [request.url.params.get("after") for request in server.requests] == [
        None,
        "1",
        "1",
        "1",
    ]
    assert server.requests[0].headers["accept"] == "application/x-ndjson"


def test_what_is_no_event_and_what_is_not_there_is_an_error() -> None:
    for answer, error in (
        (httpx.Response(200, content=b"<html>\n"), errors.UnexpectedAnswerError),
        (problem(404, "not_found"), errors.NotFoundError),
        (problem(422, "invalid"), errors.InvalidRequestError),
    ):
        client = Client(URL, transport=StandIn([answer]).transport)
        with client, pytest.raises(error):
            list(client.events("x"))
    with Client(URL, transport=StandIn([httpx.Response(204)]).transport) as client:
        assert list(client.events("x", "9-end")) == []


def test_a_followed_log_ends_with_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmx_client.client.time.sleep", lambda _: None)
    first, second = (f"2026-11-27T00:00:0{n}.000Z a #1 x\n".encode() for n in (1, 2))
    answers: list[Any] = [
        httpx.Response(200, content=first),
        httpx.Response(200, json=job("running")),
        httpx.Response(200, content=first + second),
        httpx.Response(200, json=job("failed")),
    ]
    with Client(URL, transport=StandIn(answers).transport) as client:
        assert len(list(client.logs("x", follow=True, tail=5))) == 2


def test_of_a_log_that_is_read_again_only_new_lines_count() -> None:
    place = _Place()
    old = ["2 a #1 x", "2 a #1 x", "3 b c #1 y", "no line of a log"]
    assert [place.is_new(f"{text} ") for text in old] == [True] * 4
    place.begin_again()
    again = ["1 a #1 before", *old[:3], "2 a #1 same moment", "4 b c #1 z", "1 d #2 q", "3 d #2 r"]
    new = [text for text in again if place.is_new(f"{text} ")]
    assert new == ["2 a #1 same moment", "4 b c #1 z", "3 d #2 r"]
