"""The HTTP server process: says where it listens, stops within a few seconds."""

import asyncio
import resource
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.connections import make_protocol
from fmx_store.settings import Settings

SPARE_FILES = 512  # of the database, of artifacts and uploads, of threads that wait
STOP_SECONDS = 3  # for answers that are on their way when the server is told to stop


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
        """Begins to listen, and says where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        print(f"fmx listens on {self.url}", flush=True)  # noqa: T201 - for whoever started it

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


def allow_files(max_connections: int) -> None:
    """Lets this process have so many connections open beside its files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + SPARE_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def log_config(level: str) -> dict[str, Any]:
    """All logs go to standard error; standard output is for the line that says where."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"handlers": ["stderr"], "level": level},
    }
