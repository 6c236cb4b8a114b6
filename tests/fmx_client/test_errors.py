"""Problem bodies become typed errors; what is no problem body does too."""

import httpx
import pytest
from stand_in import URL, StandIn, problem

from fmx_client import Client, errors


def _raised(response: httpx.Response) -> errors.FmxClientError:
    server = StandIn([response])
    with (
        Client(URL, transport=server.transport, retries=0) as client,
        pytest.raises(errors.FmxClientError) as caught,
    ):
        client.job("01JOB")
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_json", errors.InvalidRequestError),
        (401, "no_key", errors.AuthenticationError),
        (403, "missing_scope", errors.PermissionDeniedError),
        (404, "not_found", errors.NotFoundError),
        (409, "conflict", errors.ConflictError),
        (409, "not_ready", errors.NotReadyError),
        (413, "too_large", errors.TooLargeError),
        (415, "unsupported_media_type", errors.InvalidRequestError),
        (422, "invalid", errors.InvalidRequestError),
        (429, "too_many_requests", errors.TooManyError),
        (503, "unavailable", errors.UnavailableError),
        (507, "disk_full", errors.NoRoomError),
        (500, "internal", errors.ProblemError),
    ],
)
def test_each_status_has_its_error(status: int, code: str, kind: type[errors.ProblemError]) -> None:
    error = _raised(problem(status, code, {"Retry-After": "7"}, detail="Why.", request_id="r-1"))
    assert type(error) is kind
    assert (error.status, error.code, error.detail) == (status, code, "Why.")
    assert (error.request_id, error.retry_after) == ("r-1", 7.0)


def test_the_text_names_each_place() -> None:
    places = [
        {"pointer": "/spec/seeds/0", "code": "too_small", "detail": "at least 0"},
        {"pointer": "/spec/half", "code": "enum", "detail": "fm1 or fm2"},
    ]
    error = _raised(problem(422, "invalid", detail="The request is not valid.", errors=places))
    assert isinstance(error, errors.ProblemError)
    assert [e.pointer for e in error.errors] == ["/spec/seeds/0", "/spec/half"]
    assert str(error) == (
        "The request is not valid. (/spec/seeds/0: at least 0; /spec/half: fm1 or fm2)"
    )


def test_a_proxy_says_no_problem_body() -> None:
    error = _raised(httpx.Response(502, html="<h1>Bad Gateway</h1>"))
    assert isinstance(error, errors.UnavailableError)
    assert error.code == "http_502"
    assert str(error) == "the server answered 502"


@pytest.mark.parametrize("errors_member", ["nonsense", [{"pointer": 3}], None])
def test_an_odd_problem_body_is_an_error_too(errors_member: object) -> None:
    error = _raised(problem(404, "not_found", errors=errors_member))
    assert isinstance(error, errors.NotFoundError)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx.Response(200, html="<h1>It works!</h1>"), "no JSON"),
        (httpx.Response(200, json=["a", "list"]), "not a Job"),
        (httpx.Response(200, json={"id": "x"}), "not a Job: state"),
    ],
)
def test_another_server_is_told_from_fmx(response: httpx.Response, said: str) -> None:
    error = _raised(response)
    assert isinstance(error, errors.UnexpectedAnswerError)
    assert said in str(error)
    assert "GET http://fmx.test/v1/jobs/01JOB" in str(error)


def test_a_redirected_post_is_not_followed() -> None:
    server = StandIn([httpx.Response(301, headers={"Location": "https://fmx.test/v1/jobs"})])
    with (
        Client(URL, transport=server.transport) as client,
        pytest.raises(errors.UnexpectedAnswerError, match=r"https://fmx\.test/v1/jobs"),
    ):
        client.submit("q1")
    assert len(server.requests) == 1
