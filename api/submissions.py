"""A submitted job: from the request's JSON to the record, once for each idempotency key."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.gathering import Gatherer
from api.limits import tighten
from api.pointers import ErrorItem, describe_invalid
from api.problems import invalid, refuse
from api.shown_jobs import ShownJob, show
from fmx_ml.requests import JobRequest, parse_request
from fmx_store import tracing
from fmx_store.database import Database
from fmx_store.errors import NoRoomError, NotFoundError
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.overviews import Overview, read_overviews
from fmx_store.quotas import Quotas
from fmx_store.room import find_full
from fmx_store.settings import Settings
from fmx_store.submissions import Recorded, Submission, record_all
from fmx_store.viewers import Viewer

KEY_PATTERN = "^[!-~]([ -~]{0,253}[!-~])?$"
_KEY = re.compile(KEY_PATTERN)


def check_request(value: Any, settings: Settings) -> JobRequest:
    """The request in a JSON value. Raises ProblemError with a pointer to each error."""
    try:
        request = parse_request(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error
    return tighten(request, settings)


def check_key(key: str | None) -> str | None:
    """An Idempotency-Key header. Raises ProblemError for one that can't be."""
    if key is not None and not _KEY.fullmatch(key):
        detail = "1 to 255 printable ASCII characters"
        raise invalid([ErrorItem("header Idempotency-Key", "bad_key", detail)])
    return key


@dataclass(frozen=True)
class Order:
    """A JSON value that asks for a job, who sent it, its idempotency key and its trace."""

    value: Any
    viewer: Viewer
    key: str | None
    traceparent: str | None


@dataclass(frozen=True)
class Accepted:
    """A recorded job as it is shown; an earlier one where the key was given before."""

    job_id: str
    replayed: bool
    shown: ShownJob


class Submissions:
    """Records what is submitted: what comes while others are recorded, together."""

    def __init__(self, db: Database, settings: Settings) -> None:
        """Nothing is recorded yet."""
        self._db, self._settings = db, settings
        self._quotas = Quotas(settings)
        self._rounds = Gatherer(self._record)
        self._in_flight: set[tuple[str | None, str]] = set()

    async def submit(self, value: Any, viewer: Viewer, key: str | None) -> Accepted:
        """Records the job that a JSON value asks for.

        Raises ProblemError, 409 while another request with the key is being served, and what the
        record does.
        """
        order = Order(value, viewer, key, tracing.current.get())
        if key is None:
            return await self._rounds.ask(order)
        slot = (viewer.owner, key)
        if slot in self._in_flight:
            detail = "a request with this idempotency key is being served"
            raise refuse(409, "in_flight", detail, headers={"Retry-After": "1"})
        self._in_flight.add(slot)
        try:
            return await self._rounds.ask(order)
        finally:
            self._in_flight.discard(slot)

    def _record(self, orders: Sequence[Order]) -> Sequence[Accepted | Exception]:
        asked = [self._attempt(order) for order in orders]
        if (full := find_full(self._settings)) is not None:
            asked = [NoRoomError(full) if isinstance(i, Submission) else i for i in asked]
        good = [item for item in asked if isinstance(item, Submission)]
        max_runs = self._settings.max_runs_per_job
        recorded = iter(record_all(self._db, good, max_runs, self._quotas))
        answers = [next(recorded) if isinstance(item, Submission) else item for item in asked]
        ids = [item.job_id for item in answers if isinstance(item, Recorded)]
        found = read_overviews(self._db, ids)
        return [_accept(item, found) for item in answers]

    def _attempt(self, order: Order) -> Submission | Exception:
        try:
            request = check_request(order.value, self._settings)
        except Exception as error:  # noqa: BLE001 - the answer to this order
            return error
        return Submission(request, _identify(order), order.viewer, order.traceparent)


def _identify(order: Order) -> IdempotencyKey | None:
    if order.key is None:
        return None
    canonical = json.dumps(order.value, sort_keys=True, separators=(",", ":"))
    return IdempotencyKey(order.key, hashlib.sha256(canonical.encode()).hexdigest())


def _accept(item: Recorded | Exception, found: Mapping[str, Overview]) -> Accepted | Exception:
    if isinstance(item, Exception):
        return item
    if item.job_id not in found:  # removed since
        return NotFoundError("job", item.job_id)
    return Accepted(item.job_id, item.replayed, show(found[item.job_id]))
