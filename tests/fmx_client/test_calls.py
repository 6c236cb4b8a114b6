"""What is sent: paths, queries, bodies; and which server is asked."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from stand_in import URL, StandIn, job

from fmx_client import AsyncClient, Client, errors
from fmx_ml.requests import parse_request

ACCEPTED = httpx.Response(202, json=job())


def _sent(do: Callable[[Client], Any], answer: httpx.Response = ACCEPTED) -> list[httpx.Request]:
    server = StandIn([answer])
    with Client(URL, transport=server.transport) as client:
        do(client)
    return server.requests


def _body(request: httpx.Request) -> Any:
    return json.loads(request.content)


def test_a_kind_alone_is_a_request() -> None:
    assert _body(_sent(lambda c: c.submit("q1"))[0]) == {"kind": "q1"}


def test_what_is_given_goes_out_and_what_is_not_does_not() -> None:
    request = _sent(
        lambda c: c.submit(
            "q1",
            preset="quick",
            name="first",
            tags=("a", "b"),
            priority=0,
            time_limit_seconds=60,
            reuse=False,
            spec={"max_epochs": 2},
            idempotency_key="mine",
        )
    )[0]
    assert request.headers["Idempotency-Key"] == "mine"
    assert _body(request) == {
        "kind": "q1",
        "preset": "quick",
        "name": "first",
        "tags": ["a", "b"],
        "priority": 0,
        "time_limit_seconds": 60,
        "reuse": False,
        "spec": {"max_epochs": 2},
    }


def test_a_checked_request_means_the_same_to_the_server() -> None:
    request = parse_request({"kind": "q1", "preset": "quick", "spec": {"seeds": [1, 2]}})
    body = _body(_sent(lambda c: c.submit(request))[0])
    assert parse_request(body) == request


def test_a_whole_request_takes_no_more_options() -> None:
    with pytest.raises(TypeError, match="preset"):
        _sent(lambda c: c.submit({"kind": "q1"}, preset="quick"))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../kinds", b"/v1/jobs/..%2Fkinds"),
        ("..", b"/v1/jobs/%2E%2E"),
        ("a b?c", b"/v1/jobs/a%20b%3Fc"),
        ("", b"/v1/jobs/%20"),
    ],
)
def test_an_id_is_one_part_of_the_path(name: str, path: bytes) -> None:
    assert _sent(lambda c: c.job(name))[0].url.raw_path == path


def test_a_server_below_a_path_is_asked_there() -> None:
    server = StandIn([ACCEPTED])
    with Client("https://host.test/fmx/", transport=server.transport) as client:
        client.job("x")
    assert str(server.requests[0].url) == "https://host.test/fmx/v1/jobs/x"


def _page(request: httpx.Request) -> httpx.Response:
    first = int(request.url.params.get("cursor", 0))
    last = min(first + int(request.url.params["limit"]), 450)
    items = [{**job(), "id": f"job-{i}"} for i in range(first, last)]
    return httpx.Response(
        200, json={"items": items, "next_cursor": str(last) if last < 450 else None}
    )


@pytest.mark.parametrize(
    ("limit", "num_jobs", "num_requests"),
    [(None, 450, 3), (200, 200, 1), (201, 201, 2), (3, 3, 1), (0, 0, 0), (1000, 450, 3)],
)
def test_a_list_goes_through_all_its_pages(
    limit: int | None, num_jobs: int, num_requests: int
) -> None:
    server = StandIn([_page])
    with Client(URL, transport=server.transport) as client:
        found = [j.id for j in client.jobs(kind="q1", limit=limit)]
    assert found == [f"job-{i}" for i in range(num_jobs)]
    assert len(server.requests) == num_requests
    assert all(request.url.params["kind"] == "q1" for request in server.requests)
    assert all("state" not in request.url.params for request in server.requests)


def test_a_list_that_is_left_early_asks_for_no_more() -> None:
    server = StandIn([_page])
    with Client(URL, transport=server.transport) as client:
        assert next(client.jobs()).id == "job-0"
    assert len(server.requests) == 1


def _predict(request: httpx.Request) -> httpx.Response:
    rows = _body(request)["test_rows"]
    predictions = [
        {"label": "Bag", "class": 8, "probabilities": {"Bag": 0.9}, "row": row, "actual": "Bag"}
        for row in rows
    ]
    return httpx.Response(200, json={"model": "m", "predictions": predictions})


def test_many_pictures_go_in_several_requests_and_come_back_in_order() -> None:
    server = StandIn([_predict])
    with Client(URL, transport=server.transport) as client:
        answer = client.predict("m", test_rows=range(150))
    assert [len(_body(request)["test_rows"]) for request in server.requests] == [64, 64, 22]
    assert [p.row for p in answer.predictions] == list(range(150))
    assert answer.predictions[0].probability == 0.9


def test_files_go_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "täst 1.png").write_bytes(b"\x89PNG")
    answer = httpx.Response(200, json={"model": "m", "predictions": []})
    pictures: list[Any] = [
        tmp_path / "täst 1.png",
        str(tmp_path / "täst 1.png"),
        ("b.JPG", b"\xff"),
    ]
    request = _sent(lambda c: c.predict("m", files=pictures), answer)[0]
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    body = request.content
    assert body.count(b'name="files"; filename="t\xc3\xa4st 1.png"') == 2
    assert b'filename="b.JPG"\r\nContent-Type: image/jpeg\r\n\r\n\xff\r\n' in body


def test_arrays_go_as_numbers() -> None:
    answer = httpx.Response(200, json={"model": "m", "predictions": []})
    pictures = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    for images in (pictures, list(pictures), pictures.tolist()):
        request = _sent(lambda c, i=images: c.predict("m", images=i), answer)[0]
        assert _body(request) == {"images": pictures.tolist()}
    request = _sent(lambda c: c.predict("m", test_rows=list(np.array([3, 4]))), answer)[0]
    assert _body(request) == {"test_rows": [3, 4]}


@pytest.mark.parametrize("given", [{}, {"files": [], "test_rows": []}, {"files": []}])
def test_predict_wants_one_of_the_three(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of the three"):
        _sent(lambda c: c.predict("m", **given))


def test_unknown_fields_are_kept_and_unknown_states_borne() -> None:
    newer = httpx.Response(200, json=job("hibernating", weather="fine"))
    server = StandIn([newer])
    with Client(URL, transport=server.transport) as client:
        found = client.job("x")
    assert found.state == "hibernating"
    assert found.model_dump()["weather"] == "fine"


@pytest.mark.parametrize(
    ("given", "environment", "url"),
    [
        (None, {}, "http://127.0.0.1:8000"),
        (None, {"FMX_PORT": "8123"}, "http://127.0.0.1:8123"),
        (None, {"FMX_PORT": "8123", "FMX_URL": "https://b.test/"}, "https://b.test"),
        ("http://c.test", {"FMX_URL": "https://b.test"}, "http://c.test"),
    ],
)
def test_which_server_is_asked(
    monkeypatch: pytest.MonkeyPatch, given: str | None, environment: dict[str, str], url: str
) -> None:
    for name in ("FMX_URL", "FMX_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Client(given) as client:
        assert client.base_url == url


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "//host", "http://host:port", "x"]
)
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(errors.AddressError):
        Client(url)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Client("http://127.0.0.1:1", retries=0) as client:
        with pytest.raises(errors.ConnectionFailedError, match="refused") as here:
            client.job("x")
        assert here.value.url == "http://127.0.0.1:1"
    for local in ("http://localhost:1", "http://[::1]:1"):
        with Client(local) as client:
            assert not client._http._mounts


def test_both_clients_have_the_same_methods() -> None:
    def describe(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(member))
            for name, member in inspect.getmembers(kind, callable)
            if not name.startswith("_") and name not in {"drive", "close"}
        }

    methods = describe(Client)
    assert describe(AsyncClient) == methods
    assert methods["job"] == "(self, job_id: str)"
    assert all(getattr(Client, name).__doc__ for name in methods)
