"""A stand-in for a server: scripted answers, one after another, and what was asked for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

Script = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]

URL = "http://fmx.test"
LEASE_SECONDS = 600.0  # no run that a test holds is taken from it


@dataclass
class StandIn:
    """Answers requests in the order of its script; the last answer is given again and again."""

    script: Sequence[Script]
    requests: list[httpx.Request] = field(default_factory=list[httpx.Request])

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.script[min(len(self.requests), len(self.script)) - 1]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx.Response):
            return httpx.Response(step.status_code, headers=step.headers, content=step.content)
        return step(request)

    @property
    def transport(self) -> httpx.MockTransport:
        """What a client sends through."""
        return httpx.MockTransport(self)


def problem(status: int, code: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    """A problem body."""
    body = {"type": "about:blank", "title": "Title", "status": status, "code": code, **more}
    return httpx.Response(status, json=body, headers=headers)


def job(state: str = "queued", **more: Any) -> dict[str, Any]:
    """A job's body."""
    return {
        "id": "01JOB",
        "kind": "q1",
        "preset": "quick",
        "state": state,
        "created_at": "2025-11-23T14:00:00.000Z",
        "progress": {"phase": state, "completed": 0, "total": 15, "unit": "epoch"},
        **more,
    }


def job_answer(state: str, version: int) -> httpx.Response:
    """A job as it was at a version."""
    return httpx.Response(200, json=job(state), headers={"ETag": f'"01JOB-{version}"'})
