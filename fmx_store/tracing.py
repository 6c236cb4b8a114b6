"""Traces, where OTEL_* variables ask for them; nothing of OpenTelemetry is imported where not.

A trace begins with the request that submits a job. Its place in the trace, a W3C `traceparent`, is
kept with the job, so that the spans of workers join it whenever and wherever they work.
"""

import logging
import os
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal, TypeAlias

from pydantic import BaseModel

_OTLP = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})")

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
Kind: TypeAlias = Literal["server", "consumer", "internal"]

current: ContextVar[str | None] = ContextVar("fmx_traceparent", default=None)
"""The traceparent of the request that this task serves, if it is traced."""

_log = logging.getLogger(__name__)


class Span:
    """A part of the work and what happened in it; this one remembers nothing."""

    traceparent: str | None = None

    def rename(self, name: str) -> None:
        """Calls it otherwise, when more is known."""

    def set(self, attributes: Attributes) -> None:
        """Says more of it."""

    def event(self, name: str, told: BaseModel) -> None:
        """Notes what has happened just now."""

    def end(self, failure: str | None = None) -> None:
        """Ends it; again, changes nothing."""


class Traces:
    """Begins spans; these remember nothing."""

    def begin(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        parent: str | None = None,
        attributes: Attributes | None = None,
        began_ns: int | None = None,
    ) -> Span:
        """A span within a parent's trace, or the first of a new one; `began_ns` is since 1970."""
        del name, kind, parent, attributes, began_ns
        return Span()

    def close(self) -> None:
        """Sends what is still to be sent, for a moment."""


def are_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter != "none"
    return any(environment.get(name) for name in _OTLP)


def open_traces(service: str) -> Traces:
    """The traces of a service of this name; nothing is sent before its first span."""
    if not are_wanted(os.environ):
        return Traces()
    try:
        from fmx_store.otel import OtelTraces  # noqa: PLC0415 - an extra, for who wants it
    except ImportError as error:
        _log.error("OTEL_* asks for traces, and the extra `otel` is not installed: %s", error)
        return Traces()
    return OtelTraces(service)


def check_traceparent(text: str | None) -> str | None:
    """What a client gives as its traceparent, if it is one."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


def is_sampled(traceparent: str) -> bool:
    """Whether who began the trace records it."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found is not None and int(found["flags"], 16) & 1 == 1
