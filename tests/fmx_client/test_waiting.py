"""Long polls: what is asked, what is handed on, how a server's absence is borne."""

import httpx
import pytest
from stand_in import URL, Script, StandIn, job_answer, problem

from fmx_client import Client, client, errors, watching, wire
from fmx_client.types import Job

SAME = httpx.Response(304)
REFUSED = httpx.ConnectError("Connection refused")


class Clock:
    """A clock that moves when somebody sleeps, and a little with every look."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (watching, wire, client):
        monkeypatch.setattr(module, "time", made)
    return made


def _client(script: list[Script]) -> tuple[Client, StandIn]:
    server = StandIn(script)
    return Client(URL, transport=server.transport), server


def test_each_change_is_handed_on_once() -> None:
    asking, server = _client(
        [job_answer("queued", 1), SAME, job_answer("running", 2), SAME, job_answer("succeeded", 3)]
    )
    with asking:
        assert [job.state for job in asking.watch("01JOB")] == ["queued", "running", "succeeded"]
    asked = [(r.headers.get("If-None-Match"), r.headers.get("Prefer")) for r in server.requests]
    assert asked == [
        (None, None),
        ('"01JOB-1"', "wait=30"),
        ('"01JOB-1"', "wait=30"),
        ('"01JOB-2"', "wait=30"),
        ('"01JOB-2"', "wait=30"),
    ]


def test_wait_calls_back_and_returns_the_end() -> None:
    asking, _ = _client([job_answer("running", 1), job_answer("failed", 2)])
    seen: list[Job] = []
    with asking:
        assert asking.wait("01JOB", on_change=seen.append).state == "failed"
    assert [job.state for job in seen] == ["running", "failed"]


@pytest.mark.parametrize(
    ("state", "error"),
    [("failed", errors.JobFailedError), ("cancelled", errors.JobCancelledError)],
)
def test_check_raises_where_it_did_not_succeed(
    state: str, error: type[errors.JobEndedError]
) -> None:
    asking, _ = _client([job_answer(state, 1)])
    with asking, pytest.raises(error) as caught:
        asking.wait("01JOB", check=True)
    assert caught.value.job.state == state


def test_a_timeout_ends_the_wait_not_the_job(clock: Clock) -> None:
    asking, _ = _client([job_answer("running", 1), SAME])
    began_at = clock.now
    with asking, pytest.raises(errors.WaitTimeoutError) as caught:
        asking.wait("01JOB", timeout_seconds=10)
    assert caught.value.job.state == "running"
    assert 10 <= clock.now - began_at < 10.5


def test_a_server_that_does_not_hold_polls_is_not_asked_in_a_busy_loop(clock: Clock) -> None:
    asking, server = _client([job_answer("running", 1), *[SAME] * 20, job_answer("succeeded", 2)])
    began_at = clock.now
    with asking:
        asking.wait("01JOB")
    assert clock.now - began_at >= 19
    assert len(server.requests) == 22


def test_a_server_that_restarts_is_waited_for(clock: Clock) -> None:
    away: list[Script] = [*[REFUSED] * 12, problem(503, "starting"), httpx.ReadError("reset")]
    asking, _ = _client([job_answer("running", 1), *away, job_answer("succeeded", 2)])
    began_at = clock.now
    with asking:
        assert asking.wait("01JOB").state == "succeeded"
    assert clock.now - began_at > 15


def test_a_server_that_stays_away_is_given_up(clock: Clock) -> None:
    asking, _ = _client([job_answer("running", 1), REFUSED])
    began_at = clock.now
    with asking, pytest.raises(errors.ConnectionFailedError):
        asking.wait("01JOB", patience_seconds=40)
    assert 40 <= clock.now - began_at < 45


def test_a_long_poll_before_it_broke_costs_no_patience(clock: Clock) -> None:
    def hold(_: httpx.Request) -> httpx.Response:
        clock.sleep(30)
        raise httpx.ReadError("reset")

    asking, _ = _client([job_answer("running", 1), hold, REFUSED, job_answer("succeeded", 2)])
    with asking:
        assert asking.wait("01JOB", patience_seconds=20).state == "succeeded"


def test_a_server_that_was_never_there_is_said_at_once(clock: Clock) -> None:
    asking, server = _client([REFUSED])
    began_at = clock.now
    with asking, pytest.raises(errors.ConnectionFailedError):
        asking.wait("01JOB")
    assert len(server.requests) == 4
    assert clock.now - began_at < 5
