"""GET /v1/jobs/{id}/logs: what runs print, while they run and afterwards."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from http_service import Service, epoch, pointers, problem, serve, wait_until
from services import Column

from fmx_store import claims
from fmx_store.claims import Claim, Lease
from fmx_store.logs import Logged
from fmx_store.progress import Progress

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")
KEPT = 64 * 1024


class Writer:
    """A run that prints."""

    def __init__(self, service: Service, lease: Lease, kept_bytes: int = KEPT) -> None:
        self._service, self._lease, self._kept_bytes = service, lease, kept_bytes
        self.written = 0

    def write(self, *lines: str) -> None:
        content = "".join(f"{line}\n" for line in lines).encode()
        self.repeat(self.written, content)
        self.written += len(content)

    def repeat(self, start: int, content: bytes) -> None:
        logged = Logged(start, content, self._kept_bytes)
        claims.record_all(self._service.db, {self._lease: Progress(logged=logged)})


def read(service: Service, job_id: str, **parameters: Any) -> list[str]:
    """The lines of a job's log, without their moments, of which each must have one."""
    answer = service.client.get(f"/v1/jobs/{job_id}/logs", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = answer.text.splitlines()
    assert all(map(MOMENT.match, lines))
    return [MOMENT.sub("", line) for line in lines]


def two_runs(service: Service) -> tuple[str, list[Claim]]:
    job_id: str = service.submit(spec={"seeds": [0, 1]})["id"]
    return job_id, [service.claim() for _ in range(2)]


def test_lines_say_whose_they_are(column_service: Service) -> None:
    service = column_service
    job_id, claimed = two_runs(service)
    first, second = (Writer(service, each.lease) for each in claimed)
    assert read(service, job_id) == []
    first.write("2026-11-27T01:02:03.004Z INFO epoch 1", "printed by something else", "")
    second.write("ä\t\0ö")
    first.write("last")
    lines = [
        "seed-0 #1 INFO epoch 1",
        "seed-0 #1 printed by something else",
        "seed-0 #1 ",
        "seed-1 #1 ä\t\ufffdö",
        "seed-0 #1 last",
    ]
    assert read(service, job_id) == lines
    text = service.client.get(f"/v1/jobs/{job_id}/logs").text
    moment = "2026-11-27T01:02:03.004Z"
    assert text.startswith(f"{moment} seed-0 #1 INFO epoch 1\n{moment} seed-0 #1 printed")
    assert read(service, job_id, tail=2) == lines[-2:]
    assert read(service, job_id, tail=100) == lines
    run = claimed[1].run.id
    assert read(service, job_id, run=run) == [lines[3]]
    assert read(service, job_id, run=run, tail=1) == [lines[3]]


def test_every_attempt_is_told_of(service: Service) -> None:
    job_id = service.submit()["id"]
    for attempt in (1, 2, 3):
        claim = service.claim()
        Writer(service, claim.lease).write(f"in attempt {attempt}")
        claims.report_crash(service.db, claim.lease, "killed", 3)
    expected = [f"seed-0 #{attempt} in attempt {attempt}" for attempt in (1, 2, 3)]
    assert read(service, job_id) == read(service, job_id, follow="true") == expected


def test_what_is_written_twice_is_kept_once(service: Service) -> None:
    job_id = service.submit()["id"]
    writer = Writer(service, service.claim().lease)
    writer.write("one", "two")
    writer.repeat(0, b"one\ntwo\n")
    writer.repeat(4, b"two\nthree\n")
    assert read(service, job_id) == [f"seed-0 #1 {word}" for word in ("one", "two", "three")]


def test_a_lost_lease_logs_nothing(service: Service) -> None:
    job_id = service.submit()["id"]
    lost = service.claim().lease
    claims.hand_back(service.db, lost)
    service.claim()
    Writer(service, lost).write("too late")
    assert read(service, job_id) == []


def test_of_a_long_log_the_end_is_kept(column_service: Service) -> None:
    service = column_service
    job_id = service.submit()["id"]
    writer = Writer(service, service.claim().lease, kept_bytes=8192)
    for number in range(200):
        writer.write(*(f"line {10 * number + place:05}" for place in range(10)))
    told, *lines = read(service, job_id)
    assert re.fullmatch(r"seed-0 #1 \[[\d,]+ bytes before this were not kept\]", told)
    assert 8192 <= 11 * len(lines) < 2 * 8192
    assert lines[-1] == "seed-0 #1 line 01999"
    assert len(lines) == 2000 - int(lines[0].rpartition(" ")[2])
    assert read(service, job_id, tail=5) == lines[-5:]


def test_many_short_attempts_are_bounded_too(service: Service) -> None:
    job_id = service.submit()["id"]
    for _ in range(20):
        claim = service.claim()
        Writer(service, claim.lease, kept_bytes=4096).write("x" * 499)
        claims.hand_back(service.db, claim.lease)
    lines = read(service, job_id)
    assert [line.partition(" x")[0] for line in lines][-1] == "seed-0 #20"
    assert 4096 <= 500 * len(lines) < 4096 + 500


def test_a_log_is_followed_until_the_job_has_ended(column_service: Service) -> None:
    service = column_service
    job_id = service.submit()["id"]
    claim = service.claim()
    writer = Writer(service, claim.lease)
    writer.write("one", "two")
    heard: list[str] = []

    def follow() -> None:
        parameters = {"follow": "true", "tail": 1}
        path = f"/v1/jobs/{job_id}/logs"
        with service.client.stream("GET", path, params=parameters) as answer:
            for line in answer.iter_lines():
                heard.append(MOMENT.sub("", line))  # noqa: PERF401 - each as it comes

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    wait_until(lambda: heard == ["seed-0 #1 two"], 20)
    writer.write("three")
    wait_until(lambda: heard[1:] == ["seed-0 #1 three"], 20)
    claims.record_progress(service.db, claim.lease, [epoch(1)])
    writer.write("four")
    service.fail(claim)
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert heard[2:] == ["seed-0 #1 four"]


def test_many_lines_come_in_their_order(service: Service) -> None:
    job_id = service.submit()["id"]
    writer = Writer(service, service.claim().lease)
    for number in range(450):
        writer.write(f"line {number}")
    assert read(service, job_id) == [f"seed-0 #1 line {number}" for number in range(450)]
    assert read(service, job_id, tail=300)[0] == "seed-0 #1 line 150"


def test_logs_outlive_a_restart_and_go_with_their_job(
    embedded_column: Column, tmp_path: Path
) -> None:
    settings = embedded_column.settings(port=0)
    with serve(settings, tmp_path) as service:
        job_id = service.submit()["id"]
        claim = service.claim()
        Writer(service, claim.lease).write("before")
    with serve(settings, tmp_path) as service:
        assert read(service, job_id) == ["seed-0 #1 before"]
        service.fail(claim)
        service.client.delete(f"/v1/jobs/{job_id}")
        problem(service.client.get(f"/v1/jobs/{job_id}/logs"), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"tail": 0}, "?tail"),
        ({"tail": "x"}, "?tail"),
        ({"tail": 10**9}, "?tail"),
        ({"follow": "maybe"}, "?follow"),
        ({"run": "x"}, "?run"),
        ({"odd": "1"}, "?odd"),
    ],
)
def test_odd_questions_are_refused(service: Service, query: dict[str, Any], pointer: str) -> None:
    answer = service.client.get(f"/v1/jobs/{service.submit()['id']}/logs", params=query)
    problem(answer, 422, "invalid")
    assert pointers(answer) == [pointer]


def test_a_run_of_another_job_is_not_there(service: Service) -> None:
    _, claimed = two_runs(service)
    other = service.submit()["id"]
    for run in (claimed[0].run.id, "0" * 26):
        answer = service.client.get(f"/v1/jobs/{other}/logs", params={"run": run})
        problem(answer, 404, "not_found")
    assert service.client.head(f"/v1/jobs/{other}/logs").status_code == 200
