"""A TCP proxy that a test cuts, closes, or makes fall silent."""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any

from services import free_port

READ_BYTES = 64 * 1024


class Proxy:
    """Passes connections on to a port of this machine, as long as it is let."""

    def __init__(self, target: int) -> None:
        """Listens on a port of its own, from `running` on."""
        self.port = free_port()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_silent = False

    def cut(self) -> None:
        """Breaks every connection; new ones are let in."""
        self._do(self._cut())

    def close(self) -> None:
        """Breaks every connection and refuses new ones, as a machine without the server does."""
        self._do(self._close())

    def fall_silent(self) -> None:
        """Breaks every connection; new ones are taken, and nobody ever answers."""
        self._is_silent = True
        self.cut()

    def open(self) -> None:
        """Passes everything on again."""
        self._is_silent = False
        self._do(self._cut())
        self._do(self._open())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._is_silent:  # the writer is kept, so that the connection stays
            return
        ends = {writer}
        try:
            theirs = await asyncio.open_connection("127.0.0.1", self._target)
            ends.add(theirs[1])
            self._writers |= ends
            await asyncio.gather(_pass_on(reader, theirs[1]), _pass_on(theirs[0], writer))
        except OSError:
            pass  # nobody listens there
        finally:  # also where this task is cancelled, which began when all was being closed
            for end in ends:
                end.transport.abort()
            self._writers -= ends

    @contextmanager
    def running(self) -> Generator["Proxy"]:
        """Open for a while."""
        self._thread.start()
        self.open()
        try:
            yield self
        finally:
            self.close()
            self._do(_end_tasks())
            self.cut()  # what was let in at the last moment
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _end_tasks() -> None:
    """Waits for what still goes on in the loop, and ends what does not end by itself."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
