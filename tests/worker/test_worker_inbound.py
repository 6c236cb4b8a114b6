"""What gets from a queue into Celery, whatever was left in the queue."""

import base64
import json
from typing import Any

import pytest

from fmx_store.inbound import make_announcement, read_announcement, read_question

RUN = "01KB0000000000000000000000"


def message(body: Any = None, **changes: Any) -> dict[str, Any]:
    """An announcement, with another body or other parts."""
    made = make_announcement(RUN, "cpu")
    if body is not None:
        made["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    return {**made, **changes}


def test_an_announcement_is_read() -> None:
    assert read_announcement(message()) == RUN


def test_nothing_but_the_id_gets_through() -> None:
    forged = message()
    forged["headers"] |= {"timelimit": [0.1, 0.1], "eta": "2099-01-01", "expires": "2001-01-01"}
    forged["properties"] |= {"reply_to": "elsewhere", "delivery_tag": "known"}
    assert read_announcement(forged) == RUN
    made = make_announcement(RUN, "gpu")
    assert {"timelimit", "eta", "expires"}.isdisjoint(made["headers"])
    assert "reply_to" not in made["properties"]
    assert made["properties"]["delivery_tag"] != "known"
    assert made["properties"]["delivery_info"] == {"exchange": "", "routing_key": "gpu"}


@pytest.mark.parametrize(
    "left",
    [
        None,
        1,
        "text",
        [],
        {},
        message(headers=None),
        message(headers={"task": "os.system", "id": "1"}),
        message(headers=[]),
        message(**{"content-type": "application/x-python-serialize"}),
        {k: v for k, v in message().items() if k != "content-type"},
        {**message(), "body": None},
        {**message(), "body": "%%%"},
        {**message(), "body": "ü"},
        {**message(), "body": base64.b64encode(b"\xff").decode()},
        {**message(), "body": base64.b64encode(b"[" * 100_000).decode()},
        message([[], {}, {}]),
        message([[RUN, RUN], {}, {}]),
        message([[RUN], {"more": 1}, {}]),
        message([[RUN], {}]),
        message([[RUN[:-1]], {}, {}]),
        message([["../" + RUN[3:]], {}, {}]),
        message([[1], {}, {}]),
        message([[None], {}, {}]),
        message({"args": [RUN]}),
        message(RUN),
    ],
    ids=lambda left: repr(left)[:40],
)
def test_anything_else_is_dropped(left: Any) -> None:
    assert read_announcement(left) is None


def question(body: Any = None, **changes: Any) -> dict[str, Any]:
    """What `celery inspect ping` leaves for every worker, with another body or other parts."""
    asked = {
        "method": "ping",
        "arguments": {},
        "destination": None,
        "pattern": None,
        "matcher": None,
        "ticket": "7a4f4b4c-0a8e-4b5c-9f5e-0d8c6c6f8f0a",
        "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "b1"},
    }
    made = {
        "body": base64.b64encode(json.dumps(asked if body is None else body).encode()).decode(),
        "content-type": "application/json",
        "headers": {"clock": 1, "expires": 1.5},
        "properties": {"delivery_tag": "known"},
    }
    return {**made, **changes}


def body_of(made: dict[str, Any] | None) -> dict[str, Any]:
    assert made is not None
    return json.loads(base64.b64decode(made["body"]))


def test_a_question_is_made_anew() -> None:
    made = read_question(question())
    assert body_of(made)["method"] == "ping"
    assert body_of(made)["reply_to"]["routing_key"] == "b1"
    assert made is not None
    assert made["headers"] == {}
    assert made["properties"]["delivery_tag"] != "known"
    asked = {"method": "active", "arguments": {"safe": True}, "destination": ["a@b"], "more": 1}
    told = body_of(read_question(question(asked)))
    assert (told["arguments"], told["destination"], "more" in told) == ({}, ["a@b"], False)


@pytest.mark.parametrize(
    "left",
    [
        *(
            question({"method": name, "arguments": {}})
            for name in ("shutdown", "pool_restart", "revoke", "time_limit", "rate_limit", "nope")
        ),
        question({"method": "ping", "pattern": "*", "matcher": "glob"}),
        question({"method": "ping", "destination": "a@b"}),
        question({"method": "ping", "reply_to": {"exchange": "", "routing_key": "cpu"}}),
        question({"method": "ping", "reply_to": {"exchange": "reply.celery.pidbox"}}),
        question({"method": 1}),
        question([]),
        question({}),
        question(body=None, **{"content-type": "application/x-python-serialize"}),
        {**question(), "body": "%%%"},
        {**question(), "body": base64.b64encode(b"[" * 100_000).decode()},
        None,
        1,
        [],
        {},
        message(),
    ],
    ids=lambda left: repr(left)[:60],
)
def test_commands_and_junk_are_no_questions(left: Any) -> None:
    assert read_question(left) is None
