"""Listening to streams of events, as the tests of several rooms do it."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import httpx


class Heard(NamedTuple):
    """An event that came."""

    id: str
    name: str
    data: dict[str, Any]


def parse(lines: Iterable[str]) -> Iterator[Heard]:
    """The events of a stream of server-sent events, by the rules that browsers keep."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            yield Heard(fields["id"], fields["event"], json.loads(fields["data"]))
        fields.clear()


def listen(
    client: httpx.Client, job_id: str, after: str | None = None, **headers: str
) -> Iterator[Heard]:
    """The events of a job as they come, until the stream ends."""
    params = {} if after is None else {"after": after}
    path = f"/v1/jobs/{job_id}/events"
    with client.stream("GET", path, params=params, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        yield from parse(answer.iter_lines())


def replay(heard: Iterable[Heard]) -> dict[str, list[list[Any]]]:
    """The epochs of each run that a listener ends up with; none may come twice or be missing."""
    known: dict[str, list[list[Any]]] = {}
    for _, name, data in heard:
        if name == "rewound":
            rows = known.get(data["run"], [])
            del rows[data["epoch"] :]
        elif name == "epochs":
            rows = known.setdefault(data["run"], [])
            assert [row[0] for row in data["rows"]] == [
                len(rows) + 1 + place for place in range(len(data["rows"]))
            ]
            rows += data["rows"]
    return {run: rows for run, rows in known.items() if rows}


def metrics_of(client: httpx.Client, job_id: str) -> dict[str, list[list[Any]]]:
    """What the record has of each run's epochs, where there are any."""
    runs = client.get(f"/v1/jobs/{job_id}/runs", params={"limit": 200}).json()["items"]
    found = {run["id"]: client.get(f"/v1/runs/{run['id']}/metrics").json() for run in runs}
    return {run: metrics["rows"] for run, metrics in found.items() if metrics["rows"]}
