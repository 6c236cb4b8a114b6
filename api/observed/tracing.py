"""A span around each request, where OTEL_* asks for traces."""

import os
import random

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.observed.traffic import route_of
from fmx_store.log_format import note_ids
from fmx_store.tracing import check_traceparent, current, is_sampled

PREDICTION_SHARE = 0.01  # of those that no client traces: there may be thousands a second

_UNTRACED = ("/healthz", "/readyz", "/metrics", "/static", "/v2/health")
_PREDICTIONS = ("/predict", "/infer", "/feature-maps")
_SERVER_ERROR = 500


class Traced:
    """ASGI app: spans around what another app answers, and the trace for whoever submits a job."""

    def __init__(self, inner: ASGIApp) -> None:
        """`inner` answers. A sampler that was chosen by a variable decides of predictions too."""
        self._inner = inner
        self._samples_itself = not os.environ.get("OTEL_TRACES_SAMPLER")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self._inner(scope, receive, send)
            return
        parent = _find_parent(scope)
        if self._is_passed_over(scope["path"], parent):
            await self._inner(scope, receive, send)
            return
        await self._trace(scope, receive, send, parent)

    def _is_passed_over(self, path: str, parent: str | None) -> bool:
        if not (self._samples_itself and path.endswith(_PREDICTIONS)):
            return False
        if parent is not None:
            return not is_sampled(parent)
        return random.random() >= PREDICTION_SHARE  # noqa: S311 - which ones is no secret

    async def _trace(self, scope: Scope, receive: Receive, send: Send, parent: str | None) -> None:
        method, status = scope["method"], 0
        attributes = {"http.request.method": method, "url.path": scope["path"]}
        traces = scope["app"].state.services.traces
        span = traces.begin(method, "server", parent=parent, attributes=attributes)

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = current.set(span.traceparent)
        if span.traceparent is not None:
            note_ids(trace=span.traceparent.split("-")[1])
        try:
            await self._inner(scope, receive, watch)
        finally:
            current.reset(token)
            route = route_of(scope)
            span.rename(f"{method} {route}")
            span.set({"http.route": route, "http.response.status_code": status})
            span.end("the server failed" if status >= _SERVER_ERROR else None)


def _find_parent(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return check_traceparent(value.decode("latin-1"))
    return None
