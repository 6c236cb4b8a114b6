"""What every answer has: a request id, the security headers, and a body that says what failed."""

import itertools
import logging
import re
import secrets

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import describe, render

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
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET", HEAD_KEY: True}
        has_started = has_ended = False

        async def dress(message: Message) -> None:
            nonlocal has_started, has_ended
            if message["type"] == "http.response.start":
                has_started = True
                _add_headers(message, request_id)
            elif is_head and message["type"] == "http.response.body":
                if message.get("more_body", False):
                    return
                message = {**message, "body": b""}
            await send(message)
            is_body = message["type"] == "http.response.body"
            has_ended = is_body and not message.get("more_body", False)

        try:
            await self.app(scope, receive, dress)
        except Exception as error:
            if has_ended:  # the framework raises again what it has answered
                return
            if has_started:
                raise
            _log.exception("request %s failed", request_id)
            answer = render(Request(scope), describe(error))
            await answer(scope, receive, dress)


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
