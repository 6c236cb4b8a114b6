"""Logs of server and worker: lines of text, or JSON, one object a line; with the ids they concern.

An id is noted once, where it is learned: every line that is logged from there on by the same task
or thread has it, whoever logs it.
"""

import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

Ids = Mapping[str, str | int]
LogFormat = Literal["text", "json"]

_NOTHING: Ids = MappingProxyType({})

_noted: ContextVar[Ids] = ContextVar("fmx_ids", default=_NOTHING)


def note_ids(**ids: str | int) -> None:
    """Adds ids to what this task or thread logs from now on."""
    known = _noted.get()
    _noted.set({**known, **ids} if known else ids)


@contextmanager
def about(**ids: str | int) -> Generator[None]:
    """Adds ids to what this task or thread logs for a while."""
    token = _noted.set({**_noted.get(), **ids})
    try:
        yield
    finally:
        _noted.reset(token)


def make_thread(act: Callable[[], None], name: str) -> threading.Thread:
    """A daemon whose lines have the ids that are noted now."""
    return threading.Thread(target=copy_context().run, args=(act,), name=name, daemon=True)


class TextFormatter(logging.Formatter):
    """A line for people; the ids follow the message."""

    def __init__(self) -> None:
        """There is one form."""
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line, without the traceback that may follow it."""
        ids = " ".join(f"{name}={value}" for name, value in _noted.get().items())
        line = super().formatMessage(record)
        return f"{line} [{ids}]" if ids else line


class JsonFormatter(logging.Formatter):
    """A line for programs: one JSON object, its traceback too."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, on one line."""
        told: dict[str, Any] = {
            "time": _tell_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **_noted.get(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=True, default=str)


def _tell_time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def log_config(level: str | int, form: LogFormat, file: str | None = None) -> dict[str, Any]:
    """What logging.config.dictConfig takes: everything to standard error, or into a file."""
    formatter = JsonFormatter if form == "json" else TextFormatter
    handler: dict[str, Any] = {"class": "logging.StreamHandler", "formatter": "lines"}
    if file is not None:
        handler |= {"class": "logging.FileHandler", "filename": file}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": formatter}},
        "handlers": {"lines": handler},
        "root": {"handlers": ["lines"], "level": level},
    }
