"""Keys of a client: where they come from, where they go, and what is said without them."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from http_service import Service, serve
from services import ROOT, Column
from stand_in import URL, StandIn, job, problem

from fmx_client import AsyncClient, Client, errors
from fmx_store import keys
from fmx_store.keys import Scope


@pytest.fixture
def keyed(embedded_column: Column, tmp_path: Path) -> Generator[Service]:
    """A server that needs keys."""
    with serve(embedded_column.settings(port=0, keys="required"), tmp_path) as service:
        yield service


def make_key(service: Service, *scopes: Scope) -> str:
    return keys.create(service.db, "ada", scopes)[1]


def run(service: Service, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command `fmx`, as a process."""
    command = [sys.executable, "-m", "fmx_client.cli", *arguments]
    given = {"FMX_URL": service.server.url, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)


def test_a_key_from_the_environment_or_the_caller(
    keyed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FMX_API_KEY", raising=False)
    with Client(keyed.server.url) as client, pytest.raises(errors.AuthenticationError) as caught:
        list(client.jobs())
    assert "a key is needed" in str(caught.value)
    key = make_key(keyed, Scope.READ)
    with Client(keyed.server.url, api_key=key) as client:
        assert list(client.jobs()) == []
        with pytest.raises(errors.PermissionDeniedError, match="scope 'submit'"):
            client.submit("q1")
    monkeypatch.setenv("FMX_API_KEY", key)
    with Client(keyed.server.url) as client:
        assert list(client.jobs()) == []
    with (
        Client(keyed.server.url, api_key="fmx_" + "x" * 43) as client,
        pytest.raises(errors.AuthenticationError, match="unknown, revoked or expired"),
    ):
        list(client.jobs())


async def _list(url: str, key: str) -> list[Any]:
    async with AsyncClient(url, api_key=key) as client:
        return [job async for job in client.jobs()]


def test_the_client_for_asyncio_has_it_too(keyed: Service) -> None:
    assert asyncio.run(_list(keyed.server.url, make_key(keyed, Scope.READ))) == []


def test_the_command_says_what_to_do(keyed: Service) -> None:
    without = run(keyed, "jobs")
    assert (without.returncode, without.stdout) == (1, "")
    assert "FMX_API_KEY" in without.stderr
    assert "Traceback" not in without.stderr
    reader = make_key(keyed, Scope.READ)
    assert run(keyed, "jobs", FMX_API_KEY=reader).returncode == 0
    refused = run(keyed, "submit", "q1", FMX_API_KEY=reader)
    assert refused.returncode == 1
    assert "this key lacks the scope 'submit'" in refused.stderr
    for said in (without, refused):
        assert reader not in said.stderr + said.stdout


@pytest.mark.parametrize("key", ["with space", "with\nnewline", "ümlaut", "\x7f"])
def test_what_can_be_no_key_is_refused_and_not_told(key: str) -> None:
    with pytest.raises(errors.ApiKeyError) as caught:
        Client(URL, api_key=key)
    assert key not in str(caught.value)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Generator[str]:
    """A server of this test's own, and its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_key_goes_to_no_other_origin() -> None:
    """A redirect may lead to a store of files, which the key is no business of."""
    asked: list[str | None] = []

    def give(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers.get("Authorization"))
        handler.send_response(200)
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"bytes")

    with answering(give) as store:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            asked.append(handler.headers.get("Authorization"))
            handler.send_response(307)
            handler.send_header("Location", f"{store}/file")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with answering(redirect) as url, Client(url, api_key="fmx_secret") as client:
            assert client.report() == b"bytes"
    assert asked == ["Bearer fmx_secret", None]


def test_too_many_requests_are_sent_again_when_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("fmx_client.client.time.sleep", pauses.append)
    busy = problem(429, "too_many_requests", {"Retry-After": "7"}, detail="slow down")
    good = StandIn([busy, problem(200, "", **job())])
    with Client(URL, transport=good.transport) as client:
        client.submit("q1")
    assert pauses == [7.0]
    assert len({request.headers["Idempotency-Key"] for request in good.requests}) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.AuthenticationError), (403, errors.PermissionDeniedError)],
)
def test_a_refused_key_is_not_tried_again(status: int, kind: type[errors.ProblemError]) -> None:
    server = StandIn([problem(status, "no", {"Retry-After": "0"})])
    with Client(URL, transport=server.transport) as client, pytest.raises(kind):
        client.job("x")
    assert len(server.requests) == 1
