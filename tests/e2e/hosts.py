"""Hosts of a test's own: network namespaces that reach this machine by one link, and nothing else.

They share its file system, so what must not be shared is given a folder of its own. Where
namespaces can't be made (no root, no `ip`), a host is this machine itself and `is_apart` says so.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

HERE = "127.0.0.1"
CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class Host:
    """A place to start processes in.

    Attributes:
        name: what its namespace is called.
        place: the command that starts another one there.
        reach: the address by which this machine is reached from there.
    """

    name: str
    place: Sequence[str]
    reach: str

    @property
    def is_apart(self) -> bool:
        """Whether it has a network of its own."""
        return bool(self.place)

    def seen_from(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Variables whose URLs name this machine as the host reaches it."""
        return {name: text.replace(HERE, self.reach) for name, text in environment.items()}


@contextmanager
def make_hosts(num_hosts: int, urls: Iterable[str]) -> Generator[list[Host]]:
    """Hosts from which the loopback ports that the URLs name can be reached, and no others."""
    ports = sorted({port for url in urls if (port := urlsplit(url).port)})
    with ExitStack() as stack:
        yield [
            stack.enter_context(_make_host(number, ports))
            if _can_be_apart()
            else Host(f"this machine ({number})", (), HERE)
            for number in range(num_hosts)
        ]


def _can_be_apart() -> bool:
    if os.getuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"fmx-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        _ip("netns", "del", name)
    return made.returncode == 0


@contextmanager
def _make_host(number: int, ports: Sequence[int]) -> Generator[Host]:
    """A namespace, a pair of linked devices, and its way to the ports."""
    # Of the addresses that are set apart for tests of networks (RFC 2544), 4 for each link.
    link = (os.getpid() % 8192) * 8 + 4 * number
    near, far = (f"198.18.{(link + i) // 256}.{(link + i) % 256}" for i in (1, 2))
    name, device = f"fmx-{os.getpid()}-{number}", f"fx{os.getpid()}n{number}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", device, "type", "veth", "peer", "name", "out", "netns", name)
        _ip("address", "add", f"{near}/30", "dev", device)
        _ip("link", "set", device, "up")
        _ip("-n", name, "address", "add", f"{far}/30", "dev", "out")
        for there in ("lo", "out"):
            _ip("-n", name, "link", "set", there, "up")
        with _forward(near, ports):
            yield Host(name, ("ip", "netns", "exec", name), near)
    finally:
        # A namespace goes when the kernel comes to it; the next host may have the link's name.
        subprocess.run(["ip", "link", "del", device], capture_output=True, check=False)
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def _forward(address: str, ports: Sequence[int]) -> Generator[None]:
    """Passes on to this machine's loopback ports what comes to an address's."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> list[asyncio.Server]:
        return [
            await asyncio.start_server(lambda r, w, port=port: _carry(r, w, port), address, port)
            for port in ports
        ]

    async def close(servers: Sequence[asyncio.Server]) -> None:
        for server in servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)  # until the loop has closed what they have aborted

    servers = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(close(servers), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    writers = [writer]
    try:
        there, back = await asyncio.open_connection(HERE, port)
        writers.append(back)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
    except OSError:
        pass  # whoever asked sees its connection end
    finally:
        for each in writers:
            each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
