"""Whether what the server depends on works, each looked at within a bound."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from api.schemas import Check, Readiness
from fmx_ml.engine.kernel.library import foresee
from fmx_store.broker import check_broker
from fmx_store.revision import EXPECTED_REVISION, is_behind
from fmx_store.room import find_full

if TYPE_CHECKING:
    from api.services import Services

CHECK_SECONDS = 5.0
GLANCE_SECONDS = 1.0

_LIMITER_THREADS = 16  # checks of their own, so that a hung database does not keep them waiting


def _check_revision(services: "Services") -> None:
    found = services.get_revision()
    if is_behind(found):
        hint = "run `python -m migrations upgrade`"
        raise RuntimeError(f"the tables are at revision {found}, not {EXPECTED_REVISION}: {hint}")


def _check_room(services: "Services") -> None:
    if (full := find_full(services.settings)) is not None:
        raise RuntimeError(full)


def _check_broker(services: "Services") -> None:
    check_broker(services.celery, services.settings)


class Glances:
    """What strangers are told: looked at once a second, however many ask, and without detail."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._turn = asyncio.Lock()
        self._seen: tuple[float, Readiness] | None = None

    async def look(self, services: "Services") -> Readiness:
        """Whether everything works, as it was a moment ago."""
        async with self._turn:
            if self._seen is None or time.monotonic() - self._seen[0] > GLANCE_SECONDS:
                seen = await look(services)
                checks = {name: _bare(check) for name, check in seen.checks.items()}
                self._seen = (time.monotonic(), seen.model_copy(update={"checks": checks}))
            return self._seen[1]


async def look(services: "Services") -> Readiness:
    """Looks at everything at once."""
    looks: dict[str, Callable[[], None]] = {
        "database": services.ping,
        "broker": lambda: _check_broker(services),
        "storage": services.blobs.check,
        "migrations": lambda: _check_revision(services),
        "disk": lambda: _check_room(services),
    }
    found: dict[str, Check] = {}
    limiter = anyio.CapacityLimiter(_LIMITER_THREADS)

    async def run(name: str, check: Callable[[], None]) -> None:
        found[name] = await _try(check, limiter)

    async with anyio.create_task_group() as group:
        for name, check in looks.items():
            group.start_soon(run, name, check)
    if not all(found[name].ok for name in ("database", "storage", "migrations")):
        status = "unavailable"
    else:
        status = "ok" if found["broker"].ok and found["disk"].ok else "degraded"
    checks = {name: found[name] for name in looks}
    engine = foresee(services.settings.worker_engine)
    return Readiness.model_validate({"status": status, "checks": checks, "engine": engine})


def _bare(check: Check) -> Check:
    """Errors of a database or a broker name hosts, which are no stranger's business."""
    return check if check.ok else Check(ok=False, detail="does not work")


async def _try(check: Callable[[], None], limiter: anyio.CapacityLimiter) -> Check:
    try:
        with anyio.fail_after(CHECK_SECONDS):
            await anyio.to_thread.run_sync(check, abandon_on_cancel=True, limiter=limiter)
    except TimeoutError:
        return Check(ok=False, detail=f"no answer within {CHECK_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - whatever a dependency's client may raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Check(ok=False, detail=lines[0][:300])
    return Check(ok=True, detail="works")
