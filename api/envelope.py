"""What every answer has: a request id, the security headers, and a body that says what failed."""

import itertools
import logging
import re
import secrets
import time
from collections import Counter

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.error_table import describe, render
from api.observed.traffic import route_of
from fmx_store.log_format import note_ids

HEAD_KEY = "fmx.head"  # of the scope: the client asked with HEAD, a body need not be made

_SAFE_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
# As ASGI has headers, since every answer goes through here: bytes, names in lower case.
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-cache",
}

# Unlike any other process's, then counted: a random number for each request is a system call.
_PROCESS, _numbers = secrets.token_hex(8), itertools.count()

_log = logging.getLogger(__name__)


class Envelope:
    """ASGI middleware around all routes. HEAD goes to the route of GET, and its body is dropped."""

    def __init__(self, app: ASGIApp) -> None:
        """App is what answers."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        note_ids(request_id=request_id)  # each request is a task of its own
        asked_method = scope["method"]
        is_head = asked_method == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET", HEAD_KEY: True}
        answer = _Answer(scope, send, request_id, is_head=is_head)
        began = time.perf_counter()
        try:
            await self.app(scope, receive, answer.send)
        except Exception as error:
            if answer.has_ended:  # the framework raises again what it has answered
                return
            if answer.status:
                raise
            _log.exception("request %s failed", request_id)
            told = render(Request(scope), describe(error))
            await told(scope, receive, answer.send)
        finally:
            answer.close()
            if answer.status:
                traffic = scope["app"].state.services.traffic
                traffic.note(scope, asked_method, answer.status, time.perf_counter() - began)


class _Answer:
    """An answer on its way: dressed where it begins, and without a body for HEAD."""

    __slots__ = ("_is_head", "_request_id", "_scope", "_send", "_stream", "has_ended", "status")

    def __init__(self, scope: Scope, send: Send, request_id: str, *, is_head: bool) -> None:
        self._scope, self._send, self._request_id, self._is_head = scope, send, request_id, is_head
        self._stream: str | None = None  # the route, while parts of a body come one by one
        self.status = 0  # until it has begun
        self.has_ended = False

    async def send(self, message: Message) -> None:
        """Sends a part of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            _add_headers(message, self._request_id)
        elif message["type"] == "http.response.body":
            more = message.get("more_body", False)
            if self._is_head:
                if more:
                    return
                message = {**message, "body": b""}
            elif more and self._stream is None:
                self._stream = route_of(self._scope)
                self._streams[self._stream] += 1
        await self._send(message)
        self.has_ended = message["type"] == "http.response.body" and not message.get(
            "more_body", False
        )

    @property
    def _streams(self) -> Counter[str]:
        return self._scope["app"].state.services.traffic.streams

    def close(self) -> None:
        """Nothing more comes."""
        if self._stream is not None:
            self._streams[self._stream] -= 1


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SAFE_ID.fullmatch(given := value.decode("latin-1")):
            return given
    return new_request_id()


def new_request_id() -> str:
    """The id of a request that brought none."""
    return f"{_PROCESS}{next(_numbers):012x}"


def _add_headers(message: Message, request_id: str) -> None:
    given = message.get("headers", ())
    names = {name.lower() for name, _ in given}
    own = [item for item in HEADERS.items() if item[0] not in names]
    message["headers"] = [*given, (b"x-request-id", request_id.encode()), *own]
