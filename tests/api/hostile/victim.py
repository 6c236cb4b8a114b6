"""The server as a process of its own, what it holds, and how it stands attacks."""

import http.client
import json
import re
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from services import Column
from stack import Process, running

from hostile.attacks import Attack, RawAttack

PROBLEM = "application/problem+json"
BOUND_SECONDS = 20.0  # on the answer to any attack; a picture of 24 megapixels is decoded in 1
HEAD_SECONDS, BODY_SECONDS = 1.0, 1.0


@dataclass(frozen=True)
class Victim:
    """A server under attack."""

    process: Process
    url: str
    places: Mapping[str, str]  # what stands for {model}, {job}, {run}, {file} in a path

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def stand(self, attack: Attack) -> list[str]:
        """What is wrong with its answer."""
        began = time.monotonic()
        try:
            status, kind, content = self._ask(attack)
        except OSError as error:
            return [f"no answer: {error!r}"]
        wrong = judge(attack, status, kind, content)
        seconds = time.monotonic() - began
        return [*wrong, f"took {seconds:.1f} s"] if seconds > BOUND_SECONDS else wrong

    def _ask(self, attack: Attack) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=2 * BOUND_SECONDS)
        path = attack.path
        for name, value in self.places.items():
            path = path.replace(f"{{{name}}}", value)
        body, is_whole = attack.body, isinstance(attack.body, bytes)
        try:
            connection.putrequest(
                attack.method,
                quote(path, safe="/%?&=[];:,*'\"(){}\\<>|^`~!@$+"),
                skip_host="Host" in attack.headers,
                skip_accept_encoding=True,
            )
            for name, value in attack.headers.items():
                connection.putheader(name, value.encode("latin-1"))
            if not isinstance(body, bytes):
                connection.putheader("Transfer-Encoding", "chunked")
            elif "Content-Length" not in attack.headers:
                connection.putheader("Content-Length", str(len(body)))
            with suppress(BrokenPipeError, ConnectionResetError):  # it has answered already
                connection.endheaders(
                    body if isinstance(body, bytes) else body(), encode_chunked=not is_whole
                )
            answer = connection.getresponse()
            return answer.status, answer.headers.get("content-type", ""), answer.read()
        finally:
            connection.close()

    def stand_raw(self, attack: RawAttack) -> list[str]:
        """What is wrong with what comes back."""
        began = time.monotonic()
        with socket.create_connection(self.address, timeout=BOUND_SECONDS) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(attack.content)
            found = _read_status(connection)
        seconds = time.monotonic() - began
        wrong = [f"took {seconds:.1f} s"] if seconds > BOUND_SECONDS else []
        if found is None and not attack.may_be_silent:
            wrong.append("no answer")
        if found is not None and found not in attack.answers:
            wrong.append(f"{found}, not {attack.answers}")
        return wrong

    def find_damage(self) -> list[str]:
        """What the attacks have done to it."""
        damage = [line for line in self.process.lines if re.search(r"Traceback|\bERROR\b", line)]
        if self.process.popen.poll() is not None:
            damage.append("it has ended")
        elif httpx.get(f"{self.url}/healthz", timeout=BOUND_SECONDS).status_code != 200:
            damage.append("it is not well")
        return damage

    def resident_bytes(self) -> int:
        """The memory that its process has of its own, and of libraries in use."""
        status = Path(f"/proc/{self.process.popen.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


def judge(attack: Attack, status: int, kind: str, content: bytes) -> list[str]:
    """What is wrong with an answer: its status, or that it does not tell why."""
    if status not in attack.statuses:
        return [f"status {status}: {content[:300]!r}"]
    if status < 400:
        return []
    if kind != PROBLEM:
        return [f"status {status} without a problem body: {kind} {content[:300]!r}"]
    body: dict[str, Any] = json.loads(content)
    wrong: list[str] = []
    if body["status"] != status or not body["detail"] or not body["request_id"]:
        wrong.append(f"an odd problem body: {body}")
    if attack.code is not None and attack.code not in _codes(body):
        wrong.append(f"{attack.code} is not told: {body}")
    if attack.pointer is not None and [attack.pointer] != [i["pointer"] for i in body["errors"]]:
        wrong.append(f"{attack.pointer!r} is not pointed to: {body}")
    if len(content) > 100_000:
        wrong.append(f"a problem body of {len(content)} bytes")
    return wrong


def _codes(body: Mapping[str, Any]) -> Sequence[str]:
    return [body["code"], *(item["code"] for item in body["errors"])]


def _read_status(connection: socket.socket) -> int | None:
    """The first answer's status, None where the connection ends without one."""
    content = b""
    while b"\r\n\r\n" not in content:
        try:
            more = connection.recv(65_536)
        except (TimeoutError, ConnectionResetError):
            more = b""
        if not more:
            break
        content += more
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", content)
    return None if found is None else int(found[1])


@contextmanager
def attacked(column: Column, places: Mapping[str, str], **settings: object) -> Generator[Victim]:
    """A server for a while."""
    given = {"head_seconds": HEAD_SECONDS, "body_seconds": BODY_SECONDS, "max_wait_seconds": 1}
    environment = column.process_environment(port=0, lease_seconds=600, **{**given, **settings})
    with running(["api"], environment) as process:
        yield Victim(process, process.wait_for(r"listens on (http://\S+)")[1], places)
