"""The server: an app made from settings, with everything it holds opened while it runs."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api import error_table, openapi
from api.dependencies import permit
from api.envelope import Envelope
from api.guard import Guard
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
    runs,
    tensorboard,
)
from api.services import open_services
from api.shortcut import Shortcut
from fmx_store.settings import Settings, get_settings
from fmx_store.tracing import are_wanted


class App(FastAPI):
    """FastAPI's app behind a guard and a shortcut, which come before all of its layers.

    Where traces are wanted, a span around each request comes before them.
    """

    @cached_property
    def _guarded(self) -> ASGIApp:
        short = {models.PREDICT_PATH: models.predict, inference.INFER_PATH: inference.infer}
        guarded = Guard(Shortcut(super().__call__, short))
        if not are_wanted(os.environ):
            return guarded
        from api.observed.tracing import Traced  # noqa: PLC0415 - only who wants traces pays

        return Traced(guarded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._guarded(scope, receive, send)


def create_app(settings: Settings | None = None) -> App:
    """The app; without settings, those of the environment. Nothing is opened before it starts."""
    chosen = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        services = open_services(chosen)
        app.state.services = services
        try:
            yield
        finally:
            await services.close()

    app = App(
        title="fmx",
        version=version("fmx"),
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(permit)],
    )
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
        app.include_router(module.router)
    for router in ROUTERS:
        app.include_router(router)
    inference.install(app)
    app.mount("/static", pages.WholeFiles(directory=pages.WEB / "static"))
    app.add_middleware(Envelope)
    error_table.install(app)
    openapi.install(app, chosen.max_page, needs_keys=chosen.needs_keys)
    return app
