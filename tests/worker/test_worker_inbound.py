"""What gets from a queue into Celery, whatever was left in the queue."""

import base64
import json
from typing import Any

import pytest

from fmx_store.inbound import make_announcement, read_announcement

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
