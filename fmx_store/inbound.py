"""What a worker takes from a broker: a run's id, or a question of Celery's tools.

A broker lets anyone who reaches it leave anything. Kombu and Celery end the worker over bytes that
are no JSON, and obey headers such as time limits, and commands such as shutdown. So of each message
only the id, or the question and who asks it, is kept, in a message made anew; the rest is dropped.
"""

import base64
import json
import logging
import uuid
from typing import Any, Literal

from pydantic import BaseModel, Field

from fmx_store.ids import is_id

WORK_TASK = "fmx.work"

QUESTIONS = frozenset(
    {
        "ping",
        "active",
        "reserved",
        "scheduled",
        "revoked",
        "registered",
        "active_queues",
        "stats",
        "conf",
        "clock",
        "heartbeat",
        "enable_events",
    }
)
"""What `celery inspect` and Flower may ask of a worker; none of it changes what a worker does."""

_CONTROL_QUEUE = ".celery.pidbox"  # how the name of a worker's own queue for commands ends
_REPLIES = "reply.celery.pidbox"  # the exchange; how the name of an asker's queue ends, too
_EVENTS = "celeryev"  # how the name of a watcher's queue begins

NOT_JSON = (ValueError, RecursionError)
"""What a decoder raises that is given junk."""

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

_log = logging.getLogger(__name__)


class CheckedDelivery:
    """For a transport of kombu: lets through what announces a run, and questions.

    No worker takes replies or events: those are for Celery's tools, which use this transport too.
    """

    def _deliver(self, message: Any, queue: str) -> None:
        checked = _check(message, queue)
        if checked is None:
            _log.warning("a message that announces nothing was dropped: %.200r", message)
            return
        super()._deliver(checked, queue)  # pyright: ignore[reportAttributeAccessIssue] - the transport's


def _check(message: Any, queue: str) -> Any:
    """The message as it may be delivered, None where it may not."""
    if queue.startswith(_EVENTS) or queue.endswith(f".{_REPLIES}"):
        return message
    if queue.endswith(_CONTROL_QUEUE):
        return read_question(message)
    run_id = read_announcement(message)
    return None if run_id is None else make_announcement(run_id, queue)


def read_question(message: Any) -> dict[str, Any] | None:
    """A question to workers, made anew; None where the message is anything else."""
    try:
        if message["content-type"] != "application/json":
            return None
        asked = _Question.model_validate_json(base64.b64decode(message["body"], validate=True))
    except (KeyError, TypeError, *NOT_JSON):
        return None
    if asked.method not in QUESTIONS:
        return None
    body = {**asked.model_dump(), "arguments": {}}
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
        },
    }


class _Asker(BaseModel):
    """Where a reply goes: to nobody but who asks questions."""

    exchange: Literal["reply.celery.pidbox"]
    routing_key: str = Field(max_length=64)


class _Question(BaseModel):
    """As kombu's mailbox has it; members that narrow it down otherwise make it no question."""

    method: str
    destination: list[str] | None = None
    pattern: None = None
    matcher: None = None
    ticket: str | None = Field(default=None, max_length=64)
    reply_to: _Asker | None = None


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
