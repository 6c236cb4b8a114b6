"""What is sent again, how often, and what never is."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from stand_in import URL, Script, StandIn, job, problem

from fmx_client import Client, client, errors

REFUSED = httpx.ConnectError("Connection refused")
DROPPED = httpx.ReadError("Connection reset by peer")
BUSY = problem(503, "database_unavailable", {"Retry-After": "0"})
ACCEPTED = httpx.Response(202, json=job())
FINE = httpx.Response(200, json=job())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are noted, not slept."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr(client, "time", clock)
    return slept


def _do(script: list[Script], do: Callable[[Client], Any], **options: Any) -> StandIn:
    server = StandIn(script)
    with Client(URL, transport=server.transport, **options) as asking:
        do(asking)
    return server


@pytest.mark.parametrize("trouble", [REFUSED, DROPPED, BUSY], ids=["refused", "dropped", "busy"])
@pytest.mark.parametrize(
    ("do", "fine"),
    [
        (lambda c: c.job("x"), FINE),
        (lambda c: c.submit("q1"), ACCEPTED),
        (lambda c: c.cancel("x"), ACCEPTED),
        (lambda c: c.delete("x"), httpx.Response(204)),
    ],
    ids=["job", "submit", "cancel", "delete"],
)
def test_trouble_that_heals_is_not_seen(
    trouble: Script, do: Callable[[Client], Any], fine: httpx.Response
) -> None:
    assert len(_do([trouble, trouble, fine], do).requests) == 3


def test_a_submission_is_sent_again_with_the_same_key_and_body() -> None:
    server = _do([DROPPED, ACCEPTED], lambda c: c.submit("q1", spec={"seeds": [1]}))
    first, second = server.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.content == second.content == b'{"kind":"q1","spec":{"seeds":[1]}}'


def test_two_submissions_have_two_keys() -> None:
    server = _do([ACCEPTED], lambda c: (c.submit("q1"), c.submit("q1")))
    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert len(keys) == 2


def test_an_answer_that_is_still_being_made_is_asked_for_again() -> None:
    in_flight = problem(409, "in_flight", {"Retry-After": "0"})
    server = _do([DROPPED, in_flight, ACCEPTED], lambda c: c.submit("q1"))
    assert len(server.requests) == 3


def test_somebody_elses_request_in_flight_is_a_conflict() -> None:
    with pytest.raises(errors.ConflictError):
        _do([problem(409, "in_flight")], lambda c: c.submit("q1", idempotency_key="mine"))


@pytest.mark.parametrize(
    "answer",
    [
        problem(500, "internal"),
        problem(404, "not_found"),
        problem(422, "invalid"),
        problem(503, "unavailable"),
        problem(503, "unavailable", {"Retry-After": "3600"}),
        problem(507, "disk_full", {"Retry-After": "1"}),
    ],
    ids=["500", "404", "422", "503 without a time", "503 in an hour", "507"],
)
def test_a_refusal_is_final(answer: httpx.Response) -> None:
    server = StandIn([answer])
    with (
        Client(URL, transport=server.transport) as asking,
        pytest.raises(errors.ProblemError) as caught,
    ):
        asking.job("x")
    assert len(server.requests) == 1
    assert caught.value.sends == 1


def test_it_gives_up_and_says_what_was_wrong(no_pauses: list[float]) -> None:
    server = StandIn([REFUSED])
    told: list[tuple[errors.FmxClientError, float]] = []
    with (
        Client(
            URL, transport=server.transport, retries=3, on_retry=lambda e, s: told.append((e, s))
        ) as asking,
        pytest.raises(errors.ConnectionFailedError, match=r"no connection \(Connection refused\)"),
    ):
        asking.job("x")
    assert len(server.requests) == 4
    assert no_pauses == [pause for _, pause in told]
    assert no_pauses == sorted(no_pauses)
    assert 0 < sum(no_pauses) < 5


def test_the_time_that_the_server_names_is_kept(no_pauses: list[float]) -> None:
    _do([problem(503, "unavailable", {"Retry-After": "12"}), FINE], lambda c: c.job("x"))
    assert no_pauses == [12.0]


def test_a_cancel_whose_answer_got_lost_was_still_one() -> None:
    ended = httpx.Response(200, json=job("cancelled"))
    server = StandIn([DROPPED, problem(409, "conflict"), ended])
    with Client(URL, transport=server.transport) as asking:
        assert asking.cancel("x").state == "cancelled"


def test_a_conflict_after_a_lost_answer_stays_one_where_it_was_not_done() -> None:
    with pytest.raises(errors.ConflictError):
        _do(
            [DROPPED, problem(409, "conflict"), httpx.Response(200, json=job("succeeded"))],
            lambda c: c.cancel("x"),
        )


def test_a_delete_whose_answer_got_lost_was_still_one() -> None:
    assert len(_do([DROPPED, problem(404, "not_found")], lambda c: c.delete("x")).requests) == 2
    with pytest.raises(errors.NotFoundError):
        _do([problem(404, "not_found")], lambda c: c.delete("x"))
