"""A short way to the paths that are asked thousands of times a second.

FastAPI's own layers take several times as long as a prediction does. Its routes stay: they describe
the paths, and answer the methods that are not theirs.
"""

import re
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.dependencies import refuse_odd_query
from api.envelope import Envelope
from api.error_table import TABLE, handle
from api.observed.traffic import ROUTE
from api.permissions import grant_of
from api.services import Services

Endpoint = Callable[..., Awaitable[Response]]


class Shortcut:
    """ASGI app: POST requests of some paths go to their endpoints, in an envelope of their own.

    An endpoint gets the parameters of its path, the request, the services, and the record as the
    sender sees it.
    """

    def __init__(self, framework: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        """The framework answers all other requests; the paths are written as for FastAPI."""
        self._framework, self._answer = framework, Envelope(_answer)
        self._endpoints = [(_compile(path), path, end) for path, end in endpoints.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            for pattern, path, endpoint in self._endpoints:
                if found := pattern.fullmatch(scope["path"]):
                    scope.update(endpoint=endpoint, path_params=found.groupdict())
                    scope[ROUTE] = path
                    await self._answer(scope, receive, send)
                    return
        await self._framework(scope, receive, send)


def _compile(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive, send)
    try:
        services: Services = request.app.state.services
        endpoint, grant = scope["endpoint"], grant_of(scope)
        services.doorman.permit(scope, grant, endpoint.__name__)
        if scope["query_string"]:
            refuse_odd_query(request)
        given = {"request": request, "services": services, "db": services.view(grant.viewer)}
        answer = await endpoint(**request.path_params, **given)
    except tuple(TABLE) as error:
        answer = await handle(request, error)
    await answer(scope, receive, send)
