"""Answers that go on while a job does: its events and logs, taken up again where they break off."""

import re
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Any

import httpx
from pydantic import ValidationError

from fmx_client import calls
from fmx_client.errors import UnexpectedAnswerError
from fmx_client.paths import path_to
from fmx_client.types import JobEvent
from fmx_client.wire import NO_CONTENT, Answer, Call, Emit, Flow, Pause, Read, Step, Wire

PATIENCE_SECONDS = 60.0  # a server that restarts is waited for so long
SILENCE_SECONDS = 45.0  # after which a stream that is silent has broken off: three heartbeats
QUIET_SECONDS = 600.0  # after which a log that is silent is asked for again
PAUSE_SECONDS = 0.25  # before a stream that has ended is taken up again
END = "end"

_LINES_TYPE = "application/x-ndjson"
_LOG_LINE = re.compile(r"(\S+) (.*? #\d+) ")


class _Lines:
    """Lines out of bytes as they come."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, chunk: bytes) -> list[str]:
        """The lines that are whole now."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def _read() -> Generator[Step[Any], Answer | None, bytes | None]:
    """The next bytes of what is open, none at its end; None where it has broken off."""
    try:
        answer = yield Read()
    except httpx.RequestError:
        return None
    assert answer is not None  # noqa: S101 - a read's reply is an answer
    return answer.body


def events(
    wire: Wire,
    job_id: str,
    after: str | None = None,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Flow[JobEvent, None]:
    """What happens to a job, from its beginning or after an event's id, until it has ended.

    Where the stream breaks off it is taken up again after the last event that came; a server that
    stops answering is waited for during `patience_seconds`.
    """
    last, patience = after, None
    while True:
        answer = yield from wire.ask(_ask_events(job_id, last, patience))
        if answer.status == NO_CONTENT:
            return
        lines = _Lines()
        while chunk := (yield from _read()):
            for line in filter(None, lines.take(chunk)):
                event = _parse(answer, line)
                last, patience = event.id, patience_seconds
                yield Emit(event)
                if event.event == END:
                    return
        yield Pause(PAUSE_SECONDS)


def _ask_events(job_id: str, after: str | None, patience: float | None) -> Call:
    return Call(
        "GET",
        path_to("jobs", job_id, "events"),
        params={} if after is None else {"after": after},
        headers={"Accept": _LINES_TYPE},
        read_timeout_seconds=SILENCE_SECONDS,
        patience_seconds=patience,
        stays_open=True,
    )


def _parse(answer: Answer, line: str) -> JobEvent:
    try:
        return JobEvent.model_validate_json(line)
    except ValidationError as error:
        said = f"a line is no event: {line[:100]!r}"
        raise UnexpectedAnswerError(answer.request, said) from error


def logs(
    wire: Wire,
    job_id: str,
    *,
    tail: int | None = None,
    follow: bool = False,
    run: str | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Flow[str, None]:
    """The lines that a job's runs have printed, each with its moment, run and attempt.

    Args:
        wire: the client.
        job_id: which job.
        tail: only so many of the newest lines.
        follow: go on until the job has ended; over broken connections too.
        run: only what this run has printed.
        patience_seconds: a server that stops answering is waited for so long.
    """
    place, patience = _Place(), None
    while True:
        asked = {"tail": None if place.is_begun else tail, "follow": follow or None, "run": run}
        yield from wire.ask(_ask_logs(job_id, asked, patience))
        lines, patience = _Lines(), patience_seconds
        while chunk := (yield from _read()):
            for line in lines.take(chunk):
                if place.is_new(line):
                    yield Emit(line)
        if chunk is not None and (not follow or (yield from calls.job(wire, job_id)).ended):
            return
        place.begin_again()
        yield Pause(PAUSE_SECONDS)


def _ask_logs(job_id: str, asked: Mapping[str, Any], patience: float | None) -> Call:
    params = {name: "true" if value is True else value for name, value in asked.items()}
    return Call(
        "GET",
        path_to("jobs", job_id, "logs"),
        params={name: value for name, value in params.items() if value is not None},
        read_timeout_seconds=QUIET_SECONDS,
        patience_seconds=patience,
        stays_open=True,
    )


class _Place:
    """Which lines of a log have come: of each attempt, those up to the moment of its last one.

    The lines of an attempt are in the order of their moments, so where a log is read once more it
    is known which of them are new.
    """

    def __init__(self) -> None:
        self._since: str | None = None  # the moment of the first of all
        self._until: dict[str, str] = {}
        self._num_then = Counter[str]()  # lines that bear the moment of an attempt's last one
        self._num_to_skip = Counter[str]()
        self._is_repeated = False

    @property
    def is_begun(self) -> bool:
        """Whether a line has come."""
        return self._since is not None

    def begin_again(self) -> None:
        """All that has come will come once more."""
        self._num_to_skip, self._is_repeated = self._num_then.copy(), True

    def is_new(self, line: str) -> bool:
        """Whether a line has not come before; now it has."""
        found = _LOG_LINE.match(line)
        if found is None:
            return True
        moment, attempt = found.groups()
        self._since = self._since or moment
        if self._is_repeated and self._has_come(moment, attempt):
            return False
        if moment != self._until.get(attempt):
            self._until[attempt] = moment
            self._num_then[attempt] = self._num_to_skip[attempt] = 0
        self._num_then[attempt] += 1
        return True

    def _has_come(self, moment: str, attempt: str) -> bool:
        until = self._until.get(attempt)
        if until is None or moment != until:
            return moment < (until or self._since or "")
        self._num_to_skip[attempt] -= 1
        return self._num_to_skip[attempt] >= 0
