"""Keys for the tests of a server that needs them, and every route that it has."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi.routing import APIRoute
from http_service import Service

from api.pages.modules import ROUTERS
from api.routes import (
    aliases,
    artifacts,
    datasets,
    events,
    health,
    inference,
    jobs,
    kinds,
    metrics,
    mlflow,
    models,
    pages,
    reports,
    repository,
    runs,
    tensorboard,
)
from fmx_store import keys
from fmx_store.keys import Scope

READ_SUBMIT_PREDICT = (Scope.READ, Scope.SUBMIT, Scope.PREDICT)


@dataclass(frozen=True)
class Route:
    """A path's template, a method of it, and the function that answers."""

    path: str
    method: str
    name: str

    def fill(self, **ids: str) -> str:
        """The path with ids in it."""
        given = {"kind": "q1", "form": "html", "version": "1", "path": "a.txt", **ids}
        given |= {"name": "digits", "rest": "status", "extension": "system"} | given
        return re.sub(r":\w+}", "}", self.path).format(**given)


def _routers() -> Iterator[tuple[str, Sequence[Any]]]:
    for module in (
        kinds,
        jobs,
        events,
        runs,
        artifacts,
        tensorboard,
        datasets,
        aliases,
        models,
        reports,
        mlflow,
        health,
        metrics,
        pages,
    ):
        yield "", module.router.routes
    for router in ROUTERS:
        yield "", router.routes
    yield "", inference.server_router.routes
    yield "", repository.router.routes
    yield "", repository.unserved_router.routes
    yield inference.MODEL_PATH, inference.model_router.routes
    yield f"{inference.MODEL_PATH}/versions/{{version}}", inference.model_router.routes


ROUTES = [
    Route(prefix + route.path, method, route.endpoint.__name__)
    for prefix, routes in _routers()
    for route in routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]

Ask = Callable[..., httpx.Response]


def make_key(service: Service, owner: str = "ada", *scopes: Scope, **more: Any) -> str:
    """A new key; with no scopes named it reads, submits and predicts."""
    _, key = keys.create(service.db, owner, scopes or READ_SUBMIT_PREDICT, **more)
    return key


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def caller(service: Service, owner: str = "ada", *scopes: Scope) -> httpx.Client:
    """A client with a key of an owner; it is closed with the process."""
    headers = bearer(make_key(service, owner, *scopes))
    return httpx.Client(base_url=service.server.url, headers=headers, timeout=30)
