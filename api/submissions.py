"""A submitted job: from the request's JSON to the record, once for each idempotency key."""

import hashlib
import json
import re
from typing import Any

from pydantic import ValidationError

from api.pointers import ErrorItem, describe_invalid
from api.problems import invalid
from api.services import Services
from fmx_ml.requests import JobRequest, parse_request
from fmx_store import jobs
from fmx_store.jobs import IdempotencyKey, Submitted

_KEY = re.compile(r"[ -~]{1,255}")


def check_request(value: Any) -> JobRequest:
    """The request in a JSON value. Raises ProblemError with a pointer to each error."""
    try:
        return parse_request(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error


def check_key(key: str | None) -> str | None:
    """An Idempotency-Key header. Raises ProblemError for one that can't be."""
    if key is not None and not _KEY.fullmatch(key):
        detail = "1 to 255 printable ASCII characters"
        raise invalid([ErrorItem("header Idempotency-Key", "bad_key", detail)])
    return key


def submit(services: Services, value: Any, key: str | None) -> Submitted:
    """Records the job that a JSON value asks for. Raises ProblemError, and what the record does."""
    request = check_request(value)
    max_runs = services.settings.max_runs_per_job
    if key is None:
        return jobs.submit(services.db, request, max_runs)
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    with services.in_flight.hold(key):
        return jobs.submit(services.db, request, max_runs, IdempotencyKey(key, digest))
