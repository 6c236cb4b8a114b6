"""Traces by OpenTelemetry's SDK, as its own variables describe where they go and how many."""

import logging
import os
import threading
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import BaseModel

from fmx_store.tracing import Attributes, Kind, Span, Traces

MAX_EVENTS = 2000  # of a span: the SDK's 128 are fewer than the epochs of a training
CLOSE_SECONDS = 2.0

_KINDS = {
    "server": SpanKind.SERVER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SERVED_PROTOCOL = "http/protobuf"
_NOT_TOLD = {"type", "place"}  # members of a trainer's messages

_log = logging.getLogger(__name__)


class OtelTraces(Traces):
    """Begins spans that are exported; its thread starts with the first."""

    def __init__(self, service: str) -> None:
        """Nothing is opened yet: a process may fork before it begins a span."""
        self._service = service
        self._lock = threading.Lock()
        self._provider: TracerProvider | None = None

    def begin(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        parent: str | None = None,
        attributes: Attributes | None = None,
        began_ns: int | None = None,
    ) -> Span:
        """As Traces.begin."""
        carrier = {} if parent is None else {"traceparent": parent}
        context = TraceContextTextMapPropagator().extract(carrier, Context())
        return _OtelSpan(
            self._tracer().start_span(
                name, context, _KINDS[kind], attributes=attributes, start_time=began_ns
            )
        )

    def _tracer(self) -> Tracer:
        with self._lock:
            if self._provider is None:
                self._provider = _make_provider(self._service)
            return self._provider.get_tracer("fmx", version("fmx"))

    def close(self) -> None:
        """As Traces.close; a collector that is away holds nobody up."""
        with self._lock:
            provider, self._provider = self._provider, None
        if provider is not None:
            closing = threading.Thread(target=provider.shutdown, daemon=True)
            closing.start()
            closing.join(CLOSE_SECONDS)


class _OtelSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span, self._has_ended = span, False
        place = span.get_span_context()
        flags = int(place.trace_flags)
        self.traceparent = f"00-{place.trace_id:032x}-{place.span_id:016x}-{flags:02x}"

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str, told: BaseModel) -> None:
        if self._span.is_recording():
            self._span.add_event(name, told.model_dump(exclude_none=True, exclude=_NOT_TOLD))

    def end(self, failure: str | None = None) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if failure is not None:
            self._span.set_status(Status(StatusCode.ERROR, failure))
        self._span.end()


def _make_provider(service: str) -> TracerProvider:
    # Closed by us, within a bound: at the exit of a process it would wait for its collector.
    provider = TracerProvider(
        resource=_describe(service), span_limits=_make_limits(), shutdown_on_exit=False
    )
    exporter = _make_exporter()
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _describe(service: str) -> Resource:
    """What a variable says of the service goes before what we do."""
    attributes = {"service.version": version("fmx")}
    named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not named and not os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = service
    return Resource.create(attributes)


def _make_limits() -> SpanLimits:
    is_set = os.environ.get("OTEL_SPAN_EVENT_COUNT_LIMIT")
    return SpanLimits() if is_set else SpanLimits(max_events=MAX_EVENTS)


def _make_exporter() -> SpanExporter | None:
    name = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    if name == "console":
        return ConsoleSpanExporter()
    protocol = next((p for n in _PROTOCOLS if (p := os.environ.get(n))), _SERVED_PROTOCOL)
    if name == "otlp" and protocol == _SERVED_PROTOCOL:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - not for the console
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    _log.error(
        "traces go nowhere: otlp over %s and console are served, not %s over %s",
        _SERVED_PROTOCOL,
        name,
        protocol,
    )
    return None
