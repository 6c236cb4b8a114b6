"""What a worker takes from a queue: a run's id, whoever has left the message and however it looks.

A broker lets anyone who reaches it leave anything. Kombu and Celery end the worker over bytes that
are no JSON, and obey headers such as time limits. So of each message only the id is kept, in
a message made anew; what has none is dropped.
"""

import base64
import json
import logging
import uuid
from typing import Any

from fmx_store.ids import is_id

WORK_TASK = "fmx.work"

NOT_JSON = (ValueError, RecursionError)
"""What a decoder raises that is given junk."""

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

_log = logging.getLogger(__name__)


class CheckedDelivery:
    """For a transport of kombu: lets through what announces a run."""

    def _deliver(self, message: Any, queue: str) -> None:
        run_id = read_announcement(message)
        if run_id is None:
            _log.warning("a message that announces nothing was dropped: %.200r", message)
            return
        super()._deliver(make_announcement(run_id, queue), queue)  # pyright: ignore[reportAttributeAccessIssue] - the transport's


def read_announcement(message: Any) -> str | None:
    """The id of the run that a message announces; None where it is anything else."""
    try:
        if (message["headers"]["task"], message["content-type"]) != (WORK_TASK, "application/json"):
            return None
        body = base64.b64decode(message["body"], validate=True)
        (run_id,), keywords, _ = json.loads(body)
    except (KeyError, TypeError, *NOT_JSON):
        return None
    return run_id if isinstance(run_id, str) and is_id(run_id) and keywords == {} else None


def make_announcement(run_id: str, queue: str) -> dict[str, Any]:
    """The message, as Celery's protocol 2 and kombu's virtual transports have it."""
    identity = str(uuid.uuid4())
    body = json.dumps([[run_id], {}, _EMBED])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": WORK_TASK,
            "id": identity,
            "root_id": identity,
            "argsrepr": repr((run_id,)),
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": identity,
            "delivery_tag": str(uuid.uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
        },
    }
