"""An HTTP proxy in front of a store that does to requests what networks and stores do at times."""

import http.client
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["busy", "cut off", "no answer", "answer lost", "answer cut off", "full"]
"""What may happen to a request:

    busy            503, as a store says that has too much to do
    cut off         the connection ends in the middle of what is sent
    no answer       it is taken and never answered
    answer lost     it is done, and the connection ends before the answer
    answer cut off  half of the answer comes
    full            507, as MinIO says without room
"""

_HOP = {"connection", "transfer-encoding", "expect", "keep-alive", "server", "date"}
_ERRORS: Mapping[Fault, tuple[int, str]] = {
    "busy": (503, "SlowDown"),
    "full": (507, "XMinioStorageFull"),
}


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class FaultyStore:
    """The proxy: what came, and what befalls what comes; `judge` gives a request's fault."""

    url: str
    asked: list[Asked] = field(default_factory=list[Asked])
    judge: Callable[[Asked], Fault | None] = lambda _: None
    released: threading.Event = field(default_factory=threading.Event)

    def befall(self, fault: Fault, *, method: str | None = None, times: int | None = None) -> None:
        """Lets a fault befall requests of a method, or all, so many times, or until `heal`."""
        left = [times]

        def judge(asked: Asked) -> Fault | None:
            if (method is not None and asked.method != method) or left[0] == 0:
                return None
            left[0] = None if left[0] is None else left[0] - 1
            return fault

        self.judge = judge

    def heal(self) -> None:
        """All goes well again."""
        self.judge = lambda _: None

    def count(self, method: str) -> int:
        """How many requests of a method came."""
        return sum(asked.method == method for asked in self.asked)


class _Proxy(ThreadingHTTPServer):
    """Passes requests on to the store at an address, but for what befalls them."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(target)
        self.target = f"{parts.hostname}:{parts.port}"
        self.store = FaultyStore(f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no matter."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy  # pyright: ignore[reportIncompatibleVariableOverride] - it is made by one

    def _serve(self) -> None:
        store = self.server.store
        length = int(self.headers.get("Content-Length", "0"))
        fault = store.judge(Asked(self.command, self.path, dict(self.headers), b""))
        if fault == "cut off":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        store.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        if fault == "no answer":
            store.released.wait()
            self.close_connection = True
        elif fault is not None and fault in _ERRORS:
            self._refuse(*_ERRORS[fault])
        else:
            self._answer(fault, *self._pass_on(body))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _refuse(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>not now</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))]
        self._send(status, headers, b"" if self.command == "HEAD" else text)

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.getheaders(), answer.read()
        connection.close()
        return found

    def _answer(
        self, fault: Fault | None, status: int, headers: list[tuple[str, str]], content: bytes
    ) -> None:
        self.close_connection = self.close_connection or fault is not None
        if fault == "answer lost":
            return
        if fault == "answer cut off":
            content = content[: len(content) // 2]
        self._send(status, headers, content)

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Says nothing."""


@contextmanager
def faulty_store(target: str) -> Generator[FaultyStore]:
    """A proxy in front of the store at an address; nothing goes wrong until it is told."""
    with _Proxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy.store
        finally:
            proxy.store.released.set()
            proxy.shutdown()
            thread.join()
