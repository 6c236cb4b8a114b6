"""Traces: only where they are asked for."""

import subprocess
import sys

import pytest
from services import ROOT

from fmx_store import tracing
from fmx_store.tracing import Span, Traces, are_wanted, check_traceparent, is_sampled, open_traces

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/v1/traces"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": ""}, False),
    ],
    ids=repr,
)
def test_the_standard_variables_decide(environment: dict[str, str], wanted: bool) -> None:
    assert are_wanted(environment) is wanted


def test_nothing_is_imported_where_none_are_wanted() -> None:
    # FastAPI imports OpenTelemetry's interfaces, which do nothing by themselves.
    code = (
        "import sys, api.main, worker.app\n"
        "from fmx_store.tracing import open_traces\n"
        "open_traces('x').begin('a').end()\n"
        "ours = ('opentelemetry.sdk', 'opentelemetry.exporter', 'fmx_store.otel')\n"
        "sys.exit(any(name.startswith(ours) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_spans_that_nobody_wants_remember_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_TRACES_EXPORTER", *tracing._OTLP):
        monkeypatch.delenv(name, raising=False)
    traces = open_traces("x")
    span = traces.begin("a", "server", parent=PARENT)
    assert (type(traces), type(span), span.traceparent) == (Traces, Span, None)
    span.end()
    traces.close()


def test_a_missing_extra_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ENDPOINT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "fmx_store.otel", raising=False)
    assert type(open_traces("x")) is Traces
    assert "the extra `otel` is not installed" in caplog.text


@pytest.mark.parametrize(
    "text", [None, "", "00", PARENT + "-", PARENT.upper(), PARENT + "\n", "ff" + PARENT[2:]]
)
def test_what_is_no_traceparent_is_none(text: str | None) -> None:
    assert check_traceparent(text) is None


def test_a_traceparent_says_whether_it_is_recorded() -> None:
    assert check_traceparent(PARENT) == PARENT
    assert is_sampled(PARENT)
    assert not is_sampled(PARENT[:-2] + "00")
