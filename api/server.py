"""The HTTP server process: says where it listens, stops within a few seconds."""

import asyncio
import resource
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from api.connections import make_protocol
from api.services import Services
from fmx_store.settings import Settings

KEYS_SECONDS = 5.0  # for a look whether there are keys
SPARE_FILES = 512  # of the database, of artifacts and uploads, of threads that wait
STOP_SECONDS = 3  # for answers that are on their way when the server is told to stop


_FIRST_KEY = "fmx admin keys create --owner NAME --scope read --scope submit --scope predict"


class Server(uvicorn.Server):
    """uvicorn's server; long polls answer before it stops, and a stop by signal is no failure."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Nothing listens yet."""
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=settings.log_level == "DEBUG",  # a fifth of a small prediction's time
            server_header=False,
            http=make_protocol(settings),
            ws="none",
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        super().__init__(config)

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and says where, and who is let in."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        keys = await describe_keys(self._app.state.services)
        print(f"fmx listens on {self.url}\n{keys}", flush=True)  # noqa: T201 - for whoever started it

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begins to stop; a second SIGINT stops at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()

    def stop(self) -> None:
        """Begins to stop; may be called from any thread."""
        self.should_exit = True
        if self._loop is not None and self.started and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._app.state.services.stop_waiting)


async def describe_keys(services: Services) -> str:
    """Who is let in, on a line for the operator."""
    settings = services.settings
    if not settings.needs_keys:
        return "keys are off: whoever reaches this address may do everything"
    try:
        has_key = await asyncio.wait_for(asyncio.to_thread(services.has_live_key), KEYS_SECONDS)
    except (TimeoutError, SQLAlchemyError):  # the record may be up later
        has_key = True
    needed = "keys are needed"
    return needed if has_key else f"{needed}, and there is none yet: {_FIRST_KEY}"


def allow_files(max_connections: int) -> None:
    """Lets this process have so many connections open beside its files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + SPARE_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
