"""Requests over many connections at once, and how long each took; cheap enough to load a server."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass
class Load:
    """What a load came to."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list[float])

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """The milliseconds in which that share of the answers came."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def make_request(
    url: str, *, json_body: object = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """A request as it goes over the wire: POST with a body, GET without."""
    parts = urlsplit(url)
    content = b"" if json_body is None else json.dumps(json_body).encode()
    own = {"Host": parts.netloc, **(headers or {})}
    if content:
        own |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    method = "POST" if content else "GET"
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in own.items())]
    return "\r\n".join(head).encode() + _END_OF_HEAD + content


def load(url: str, request: bytes, *, status: int, connections: int, seconds: float) -> Load:
    """Sends the same request again and again; each answer must have the status."""
    return asyncio.run(_load(url, request, status, connections, seconds))


async def _load(url: str, request: bytes, status: int, connections: int, seconds: float) -> Load:
    done = Load()
    began = time.perf_counter()
    deadline = began + seconds
    await asyncio.gather(
        *(_repeat(url, request, status, deadline, done) for _ in range(connections))
    )
    done.seconds = time.perf_counter() - began
    return done


async def _repeat(url: str, request: bytes, status: int, deadline: float, done: Load) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    expected = f"HTTP/1.1 {status} ".encode()
    while (began := time.perf_counter()) < deadline:
        writer.write(request)
        head = await reader.readuntil(_END_OF_HEAD)
        assert head.startswith(expected), head
        if length := _content_length(head):
            await reader.readexactly(length)
        done.latencies.append(time.perf_counter() - began)
    writer.close()


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    place = lowered.find(_LENGTH)
    if place < 0:
        return 0
    return int(lowered[place + len(_LENGTH) : lowered.index(b"\r\n", place)])
