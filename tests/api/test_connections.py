"""Bounds on connections: how many, how much, and how long a client may take over it."""

import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from http_service import PROBLEM, Service, wait_until

from api import connections

HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
POST = b"POST /v1/jobs/validate HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
BODY = b'{"kind": "q1"}'

pytestmark = pytest.mark.usefixtures("service")


@contextmanager
def connected(service: Service) -> Generator[socket.socket]:
    """A connection to the server."""
    parts = urlsplit(service.server.url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=20) as connection:
        yield connection


def read(connection: socket.socket) -> tuple[int | None, dict[str, str], bytes]:
    """All that comes until the connection ends: status, headers and body; None for nothing."""
    content = b""
    try:
        while more := connection.recv(65_536):
            content += more
    except ConnectionResetError:
        pass
    if not content:
        return None, {}, b""
    head, _, body = content.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


def refused(connection: socket.socket, status: int, code: str) -> dict[str, str]:
    """The headers of an answer that must be this problem."""
    found, headers, body = read(connection)
    told = json.loads(body)
    assert (found, told["status"], told["code"]) == (status, status, code)
    assert headers["content-type"] == PROBLEM
    assert headers["connection"] == "close"
    assert headers["x-request-id"] == told["request_id"]
    assert headers["x-content-type-options"] == "nosniff"
    return headers


def drip(connection: socket.socket, content: bytes, pause: float, seconds: float) -> None:
    """Sends piece by piece until the time is over or the connection has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            connection.sendall(content)
        except OSError:
            return
        time.sleep(pause)


class TestSlowSenders:
    @pytest.fixture
    def settings_values(self) -> dict[str, Any]:
        return {"head_seconds": 1, "body_seconds": 1, "keep_alive_seconds": 1}

    def test_a_head_that_drips_is_408(self, service: Service) -> None:
        with connected(service) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
            dripping = threading.Thread(target=drip, args=(connection, b"X: y\r\n", 0.1, 10))
            began = time.monotonic()
            dripping.start()
            refused(connection, 408, "slow_request")
            assert 0.9 < time.monotonic() - began < 9
            connection.close()
            dripping.join()

    @pytest.mark.parametrize("said", [b"", b"\r\n", b"\r\n\r\n\r\n"])
    def test_a_connection_that_asks_nothing_ends(self, service: Service, said: bytes) -> None:
        with connected(service) as connection:
            connection.sendall(said)
            assert read(connection)[0] in {None, 408}

    def test_an_idle_connection_ends(self, service: Service) -> None:
        with connected(service) as connection:
            connection.sendall(GET + b"\r\n")
            status, headers, _ = read(connection)
            assert status == 200
            assert "connection" not in headers

    def test_line_ends_do_not_keep_an_idle_connection(self, service: Service) -> None:
        with connected(service) as connection:
            connection.sendall(GET + b"\r\n")
            dripping = threading.Thread(target=drip, args=(connection, b"\r\n", 0.2, 10))
            dripping.start()
            began = time.monotonic()
            assert read(connection)[0] == 200
            assert time.monotonic() - began < 9
            connection.close()
            dripping.join()

    @pytest.mark.parametrize("length", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
    def test_a_body_that_drips_is_408(self, service: Service, length: bytes) -> None:
        with connected(service) as connection:
            connection.sendall(POST + length + b"\r\n\r\n")
            piece = b" " if length.startswith(b"Content") else b"1\r\n \r\n"
            dripping = threading.Thread(target=drip, args=(connection, piece, 0.1, 10))
            began = time.monotonic()
            dripping.start()
            refused(connection, 408, "slow_body")
            assert 0.9 < time.monotonic() - began < 9
            connection.close()
            dripping.join()
        assert service.client.get("/healthz").status_code == 200

    def test_a_body_that_nothing_asks_for_drips_no_longer(self, service: Service) -> None:
        with connected(service) as connection:
            connection.sendall(GET + b"Content-Length: 100000\r\n\r\n")
            dripping = threading.Thread(target=drip, args=(connection, b"x", 0.1, 10))
            dripping.start()
            began = time.monotonic()
            assert read(connection)[0] == 200
            assert time.monotonic() - began < 9
            connection.close()
            dripping.join()

    def test_a_long_body_may_take_its_time(self, service: Service) -> None:
        """Three times as long as a short one, at four times the least rate."""
        padding, steps = 4096, 6
        with connected(service) as connection:
            length = padding * steps + len(BODY)
            said = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % length
            connection.sendall(POST + said)
            for _ in range(steps):
                connection.sendall(b" " * padding)
                time.sleep(0.5)
            connection.sendall(BODY)
            assert read(connection)[0] == 200

    def test_nothing_is_left_of_those_who_went(self, service: Service) -> None:
        with connected(service) as connection:
            connection.sendall(POST + b"Content-Length: 100\r\n\r\n{")
        server = service.server.server_state
        wait_until(lambda: not server.connections and not server.tasks, 10)


class TestSlowReaders:
    @pytest.fixture
    def settings_values(self) -> dict[str, Any]:
        return {"answer_seconds": 1}

    def test_a_client_that_reads_nothing_is_given_up(self, service: Service) -> None:
        job_id = service.run_to_success(job_files={"big.csv": bytes(30_000_000)})
        state = service.server.server_state
        path = f"/v1/jobs/{job_id}/artifacts/big.csv"
        with connected(service) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            wait_until(lambda: state.tasks, 10)
            wait_until(lambda: not state.tasks, 10)
        assert len(service.client.get(path).content) == 30_000_000


class TestBounds:
    @pytest.fixture
    def settings_values(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setattr(connections, "MAX_BODY_BYTES", 1024 * 1024)
        return {"max_connections": 5, "max_head_bytes": 4096}

    def test_the_most_connections(self, service: Service) -> None:
        service.client.close()
        open_ones = [connected(service) for _ in range(5)]
        sockets = [one.__enter__() for one in open_ones]
        state = service.server.server_state
        wait_until(lambda: len(state.connections) == 5, 10)
        with connected(service) as connection:
            assert refused(connection, 503, "too_many_connections")["retry-after"] == "1"
        for one in open_ones:
            one.__exit__(None, None, None)
        wait_until(lambda: not state.connections, 10)
        assert len(sockets) == 5
        with connected(service) as connection:
            connection.sendall(GET + b"Connection: close\r\n\r\n")
            assert read(connection)[0] == 200

    @pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 431)])
    def test_the_longest_head(self, service: Service, more: int, status: int) -> None:
        """A path and three headers, each with the four characters that hold it together."""
        given = "/healthz" + "Host: localhost\r\n" + "Connection: close\r\n" + "X: \r\n"
        value = b"y" * (4096 - len(given) + more)
        with connected(service) as connection:
            connection.sendall(GET + b"Connection: close\r\nX: " + value + b"\r\n\r\n")
            if status == 200:
                assert read(connection)[0] == 200
            else:
                refused(connection, 431, "long_head")

    @pytest.mark.parametrize("is_chunked", [True, False])
    def test_a_body_is_bounded_where_nothing_asks_for_it(
        self, service: Service, is_chunked: bool
    ) -> None:
        """The rest is not read: the connection ends long before a slow body's would."""
        mebibyte = bytes(1024 * 1024)
        chunk = b"100000\r\n" + mebibyte + b"\r\n" if is_chunked else mebibyte
        length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 99999999999"
        began = time.monotonic()
        with connected(service) as connection:
            connection.sendall(GET + length + b"\r\n\r\n")
            with suppress(OSError):
                for _ in range(4):
                    connection.sendall(chunk)
            assert read(connection)[0] == 200
        assert time.monotonic() - began < 15

    def test_a_bad_request_behind_a_good_one(self, service: Service) -> None:
        """The good one is answered, and nothing after it."""
        length = b"Content-Length: %d\r\n\r\n" % len(BODY)
        with connected(service) as connection:
            connection.sendall(POST + length + BODY + b"\0\0\0\0\r\n\r\n" + GET + b"\r\n")
            status, headers, body = read(connection)
            assert (status, headers["connection"]) == (200, "close")
            assert json.loads(body)["kind"] == "q1"
        assert service.client.get("/healthz").status_code == 200
