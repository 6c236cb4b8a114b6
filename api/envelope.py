"""What every answer has: a request id, the security headers, and a body that says what failed."""

import logging
import random
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import describe, render

HEAD_KEY = "fmx.head"  # of the scope: the client asked with HEAD, a body need not be made

_SAFE_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}

_random = random.Random()  # noqa: S311 - of no secrets: a request's id only tells it from others

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
        has_started = False

        async def dress(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                _add_headers(message, request_id)
            elif is_head and message["type"] == "http.response.body":
                if message.get("more_body", False):
                    return
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(scope, receive, dress)
        except Exception as error:
            if has_started:
                raise
            _log.exception("request %s failed", request_id)
            answer = render(Request(scope), describe(error))
            await answer(scope, receive, dress)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SAFE_ID.fullmatch(given) else f"{_random.getrandbits(128):032x}"


def _add_headers(message: Message, request_id: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["X-Request-ID"] = request_id
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
