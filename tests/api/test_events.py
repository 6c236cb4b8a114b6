"""GET /v1/jobs/{id}/events: a job's story as it happens, exactly, over any number of drops."""

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_service import Service, epoch, pointers, problem, serve, wait_until
from key_kit import caller
from listening import Heard, listen, metrics_of, replay
from playwright.sync_api import sync_playwright
from services import Column, find_binary
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from tcp_proxy import Proxy

from api import cookies, streams_of_events
from api.routes import events as events_route
from fmx_store import claims, jobs, keys
from fmx_store.claims import Claim

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DROPS = 100
RUNS = 500


def train(service: Service, claim: Claim, *numbers: int) -> None:
    claims.record_progress(service.db, claim.lease, [epoch(n) for n in numbers])


@contextmanager
def listening(service: Service, job_id: str, after: str | None = None) -> Generator[list[Heard]]:
    """Fills a list with what comes meanwhile; the stream must have ended at the end."""
    heard: list[Heard] = []

    def fill() -> None:
        for each in listen(service.client, job_id, after):
            heard.append(each)  # noqa: PERF402 - each as it comes

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    yield heard
    thread.join(timeout=30)
    assert not thread.is_alive()


def named(heard: list[Heard]) -> list[str]:
    return [each.name for each in heard]


def test_a_job_is_followed_to_its_end(column_service: Service) -> None:
    service = column_service
    job_id = service.submit(spec={"seeds": [0, 1]})["id"]
    with listening(service, job_id) as heard:
        wait_until(lambda: named(heard) == ["job"], 20)
        for _ in range(2):
            claim = service.claim()
            train(service, claim, 1, 2)
            wait_until(lambda: named(heard)[-1] == "epochs", 20)
            train(service, claim, 3)
            service.succeed(claim, {"log.txt": b"done"})
        service.collate({"figure-1.png": b"a picture"})
    assert heard[-1][1:] == ("end", {"state": "succeeded"})
    assert replay(heard) == metrics_of(service.client, job_id)
    files = [
        item["path"] for each in heard if each.name == "artifacts" for item in each.data["items"]
    ]
    assert files == ["seed-0/log.txt", "seed-1/log.txt", "figure-1.png"]
    states = [each.data["state"] for each in heard if each.name == "job"]
    assert states == ["queued", "running", "succeeded"]
    late = list(listen(service.client, job_id))
    assert replay(late) == replay(heard)
    assert without_epochs(late) == without_epochs(heard)


def without_epochs(heard: list[Heard]) -> list[tuple[str, Any]]:
    """What came but for epochs, which gather differently for each who listens."""
    return [(name, data) for _, name, data in heard if name != "epochs"]


def test_the_stream_is_one_that_browsers_and_proxies_understand(service: Service) -> None:
    job_id = service.run_to_success()
    answer = service.client.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.startswith("retry: 1000\n\nid: ")
    *_, end = answer.text.rstrip("\n").split("\n\n")
    last = end.splitlines()[0].removeprefix("id: ")
    for known in ({"params": {"after": last}}, {"headers": {"Last-Event-ID": last}}):
        again = service.client.get(f"/v1/jobs/{job_id}/events", **known)  # pyright: ignore[reportArgumentType] - one of two
        assert (again.status_code, again.content) == (204, b"")


def test_the_same_comes_as_json_lines(service: Service) -> None:
    job_id = service.run_to_success()
    headers = {"Accept": "application/x-ndjson"}
    answer = service.client.get(f"/v1/jobs/{job_id}/events", headers=headers)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    told = [Heard(line["id"], line["event"], line["data"]) for line in lines]
    assert told == list(listen(service.client, job_id))


def test_a_retried_job_goes_on_after_its_end(service: Service) -> None:
    job_id = service.submit()["id"]
    service.fail(service.claim())
    heard = list(listen(service.client, job_id))
    service.client.post(f"/v1/jobs/{job_id}/retry")
    service.train_one()
    service.collate({})
    rest = list(listen(service.client, job_id, after=heard[-1].id))
    assert named(rest)[:2] == ["job", "run"]
    assert rest[-1].data == {"state": "succeeded"}


def test_head_tells_the_type_alone(service: Service) -> None:
    path = f"/v1/jobs/{service.submit()['id']}/events"
    answer = service.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("bad", ["x", "999", "1-end-2", "-1", "1-2", "9" * 40, "1 2"])
def test_an_id_of_no_event_is_refused(service: Service, bad: str) -> None:
    path = f"/v1/jobs/{service.submit()['id']}/events"
    by_query = service.client.get(path, params={"after": bad})
    problem(by_query, 422, "invalid")
    assert pointers(by_query) == ["?after"]
    by_header = service.client.get(path, headers={"Last-Event-ID": bad})
    problem(by_header, 422, "invalid")
    assert pointers(by_header) == ["Last-Event-ID"]


def test_a_browser_that_comes_back_goes_on_where_it_was(service: Service) -> None:
    """It asks for the address that it was given, and says in a header what has come since."""
    job_id = service.run_to_success()
    first, *rest = listen(service.client, job_id)
    answer = service.client.get(
        f"/v1/jobs/{job_id}/events",
        params={"after": first.id},
        headers={"Last-Event-ID": rest[0].id, "Accept": "application/x-ndjson"},
    )
    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [e.id for e in rest[1:]]


def begin(stack: ExitStack, client: httpx.Client, path: str) -> Iterator[str]:
    """The lines of a stream that has begun; it is open as long as they are held."""
    lines = stack.enter_context(client.stream("GET", path)).iter_lines()
    assert next(lines) == "retry: 1000"
    return lines


def test_streams_are_bounded(embedded_column: Column, tmp_path: Path) -> None:
    limits = {"max_streams": 3, "max_streams_per_owner": 2, "keys": "required"}
    settings = embedded_column.settings(port=0, **limits)
    with serve(settings, tmp_path) as service, ExitStack() as stack:
        ada, bob = (stack.enter_context(caller(service, name)) for name in ("ada", "bob"))
        paths = {
            client: client.post("/v1/jobs", json={"kind": "q1"}).json()["links"]["self"] + "/events"
            for client in (ada, bob)
        }
        with ExitStack() as streams:
            begun = [begin(streams, client, paths[client]) for client in (ada, ada, bob)]
            refused = ada.get(paths[ada])
            problem(refused, 429, "too_many_streams")
            assert refused.headers["retry-after"] == "5"
            problem(bob.get(paths[bob]), 503, "too_many_streams")
            logs = paths[bob].replace("/events", "/logs?follow=true")
            problem(bob.get(logs), 503, "too_many_streams")
        del begun

        def is_free() -> bool:
            with ada.stream("GET", paths[ada]) as answer:
                return answer.status_code == 200

        wait_until(is_free, 10)


def test_streams_hold_no_threads(service: Service) -> None:
    path = f"/v1/jobs/{service.submit()['id']}/events"
    with ExitStack() as stack:
        begun = [begin(stack, service.client, path) for _ in range(20)]
        before = threading.active_count()
        begun += [begin(stack, service.client, path) for _ in range(40)]
        assert threading.active_count() < before + 20, "40 would be one each"


def test_a_silent_stream_shows_that_it_is_alive(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_of_events, "HEARTBEAT_SECONDS", 0.2)
    path = f"/v1/jobs/{service.submit()['id']}/events"
    for accept, sign in (("text/event-stream", ":"), ("application/x-ndjson", "")):
        with service.client.stream("GET", path, headers={"Accept": accept}) as answer:
            lines = answer.iter_lines()
            signs = (line for line in lines if line == sign)
            assert [next(signs) for _ in range(3)] == [sign] * 3


def test_a_server_that_stops_ends_its_streams(embedded_column: Column, tmp_path: Path) -> None:
    with serve(embedded_column.settings(port=0), tmp_path) as service:
        path = f"/v1/jobs/{service.submit()['id']}/events"
        logs = path.replace("/events", "/logs?follow=true")
        with (
            service.client.stream("GET", path) as answer,
            httpx.Client(base_url=service.server.url) as other,
            other.stream("GET", logs) as lines,
        ):
            read = answer.iter_lines()
            assert next(read) == "retry: 1000"
            began = time.monotonic()
            service.server.stop()
            rest = list(read)
            assert "event: end" not in rest
            assert lines.read() == b""
            assert time.monotonic() - began < 2


def test_a_stream_ends_after_so_long_and_goes_on(embedded_column: Column, tmp_path: Path) -> None:
    settings = embedded_column.settings(port=0, max_stream_seconds=1)
    with serve(settings, tmp_path) as service:
        job_id = service.submit()["id"]
        began = time.monotonic()
        heard = list(listen(service.client, job_id))
        logs = service.client.get(f"/v1/jobs/{job_id}/logs?follow=true")
        assert 1.9 < time.monotonic() - began < 10
        assert (named(heard), logs.text) == (["job"], "")
        service.fail(service.claim())
        rest = list(listen(service.client, job_id, after=heard[-1].id))
        assert rest[-1].name == "end"


def test_a_job_that_is_deleted_ends_its_stream(service: Service) -> None:
    job_id = service.submit()["id"]
    with listening(service, job_id) as heard:
        wait_until(lambda: heard, 20)
        assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert named(heard) == ["job"]


@pytest.mark.parametrize("way", ["Authorization", "Cookie"])
def test_a_key_that_is_revoked_hears_no_more(
    embedded_column: Column, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(streams_of_events, "HEARTBEAT_SECONDS", 0.3)
    settings = embedded_column.settings(port=0, keys="required")
    with serve(settings, tmp_path) as service, caller(service, "ada") as ada:
        path = ada.post("/v1/jobs", json={"kind": "q1"}).json()["links"]["self"]
        if way == "Cookie":  # as a browser has it, which signed in
            key = ada.headers.pop("Authorization").removeprefix("Bearer ")
            ada.cookies.set(cookies.NAME, key)
        with ada.stream("GET", f"{path}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 1000"
            assert next(line for line in lines if line == ":")
            [row] = keys.list_keys(service.db)
            keys.revoke(service.db, row.id)
            assert "event: end" not in list(lines)


def test_a_record_that_is_away_for_a_while_breaks_no_stream(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit()["id"]
    with listening(service, job_id) as heard:
        wait_until(lambda: heard, 20)
        real, failures = streams_of_events.read_window, [0]

        def read(*arguments: Any) -> Any:
            if failures[0] < 3:
                failures[0] += 1
                raise OperationalError("SELECT", {}, Exception("away"))
            return real(*arguments)

        monkeypatch.setattr(streams_of_events, "OUTAGE_SECONDS", 0.1)
        monkeypatch.setattr(streams_of_events, "read_window", read)
        service.fail(service.claim())
    assert failures == [3]
    assert named(heard)[-2:] == ["job", "end"]


def drop_often(service: Service, proxy: Proxy, opened: Callable[[int], Any]) -> None:
    """Trains a job while the connections of its listener break again and again."""
    claim, number = service.claim(), 0
    for drop in range(DROPS):
        opened(drop)
        if drop == DROPS // 2:  # its worker is lost
            claims.hand_back(service.db, claim.lease)
            claim, number = service.claim(), 0
        number += 1
        train(service, claim, number)
        proxy.cut()
    service.succeed(claim, {"log.txt": b"done"})
    service.collate({})


PAGE = """<script>
const heard = []; let opened = 0; let source;
function begin(path) {
  source = new EventSource(path);
  source.onopen = () => opened++;
  for (const name of ["job", "run", "epochs", "artifacts", "rewound", "end"])
    source.addEventListener(name, e => heard.push([e.lastEventId, name, JSON.parse(e.data)]));
}
</script>"""


@pytest.mark.browser
def test_a_browser_hears_all_through_a_hundred_drops(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = replace(streams_of_events.SERVER_SENT, greeting=b"retry: 20\n\n")
    monkeypatch.setattr(events_route, "SERVER_SENT", soon)
    job_id = service.submit()["id"]
    port = int(service.server.url.rpartition(":")[2])
    with Proxy(port).running() as proxy, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_binary("chromium"), args=ARGUMENTS
        )
        page = browser.new_page()
        url = f"http://127.0.0.1:{proxy.port}/listen.html"
        page.route(url, lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page.goto(url)
        page.evaluate(f"begin('/v1/jobs/{job_id}/events')")
        drop_often(service, proxy, lambda drop: page.wait_for_function(f"opened > {drop}"))
        page.wait_for_function("source.readyState === EventSource.CLOSED")
        heard = [Heard(*each) for each in page.evaluate("heard")]
        browser.close()
    assert named(heard).count("end") == 1
    assert replay(heard) == metrics_of(service.client, job_id)
    assert without_epochs(heard) == without_epochs(list(listen(service.client, job_id)))
    assert len({each.id for each in heard}) == len(heard)


FILL = """
INSERT INTO metric (run_id, epoch, attempt, train_loss, val_loss, val_accuracy, seconds)
WITH RECURSIVE number(epoch) AS (
    SELECT 1 UNION ALL SELECT epoch + 1 FROM number WHERE epoch < 450
)
SELECT run.id, epoch, 0, 1.0 / epoch, 2.0 / epoch, 0.987654321, 0.01234
FROM run, number WHERE run.job_id = :job AND run.role = 'training'
"""
TELL = """
INSERT INTO event (job_id, seq, type, data, at)
WITH RECURSIVE number(batch) AS (SELECT 0 UNION ALL SELECT batch + 1 FROM number WHERE batch < 9)
SELECT :job, 2 + 10 * run.position + batch, 'epochs',
       '{"epochs": [[' || run.position || ', 0, ' || (45 * batch + 1) || ', '
           || (45 * batch + 45) || ']]}', CURRENT_TIMESTAMP
FROM run, number WHERE run.job_id = :job AND run.role = 'training'
"""


def test_the_story_of_hundreds_of_runs_comes_in_a_few_large_events(service: Service) -> None:
    search = {"method": "random", "trials": RUNS}
    job_id = service.submit(kind="q2", spec={"search": search, "seeds": [0]})["id"]
    with service.db.write() as session:
        for statement in (FILL, TELL):
            session.connection().execute(text(statement), {"job": job_id})
        session.connection().execute(text("UPDATE job SET version = 50000"))
    jobs.cancel(service.db, job_id)
    began = time.monotonic()
    heard = list(listen(service.client, job_id))
    took = time.monotonic() - began
    epochs = [each for each in heard if each.name == "epochs"]
    assert sum(len(each.data["rows"]) for each in epochs) == RUNS * 450
    assert len(epochs) < RUNS + 100
    assert len(replay(heard)) == RUNS
    assert took < 30, took
