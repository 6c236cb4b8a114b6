"""Traces over OTLP: what a collector is sent, decoded as a collector decodes it."""

import gzip
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from services import Column
from stack import serve, submit, wait_for_end, wait_until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7"
EPOCHS = 3
IMAGE = [[0] * 28] * 28

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Sent:
    """A span as it was sent, and the service that has sent it."""

    service: str
    span: Any

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return _values(self.span.attributes)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [_values(event.attributes) for event in self.span.events if event.name == name]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Collector:
    """An OTLP/HTTP receiver on a port of this machine."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body, self.headers.get("Content-Encoding"))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes, coding: str | None) -> None:
        assert path == "/v1/traces"
        request = ExportTraceServiceRequest()
        request.ParseFromString(gzip.decompress(body) if coding == "gzip" else body)
        for group in request.resource_spans:
            service = _values(group.resource.attributes)["service.name"]
            spans = [span for scope in group.scope_spans for span in scope.spans]
            self.sent.extend(Sent(service, span) for span in spans)

    def of(self, trace_id: str) -> Sequence[Sent]:
        return [sent for sent in list(self.sent) if sent.trace_id == trace_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def collecting() -> Generator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


def traced(column: Column, collector: Collector) -> Column:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds
    }
    return Column(column.name, {**column.environment, **variables})


def names(spans: Sequence[Sent]) -> list[str]:
    return sorted(sent.span.name for sent in spans)


def train(client: httpx.Client) -> str:
    spec = {"dataset": "synthetic", "max_epochs": EPOCHS, "batch_size": 1000}
    job_id = submit(client, spec=spec)
    assert wait_for_end(client, job_id)["state"] == "succeeded"
    return job_id


def test_a_trace_from_the_submission_to_the_collation(embedded_column: Column) -> None:
    with (
        collecting() as collector,
        serve(traced(embedded_column, collector)) as (_, client),
    ):
        client.headers["traceparent"] = f"{PARENT}-01"
        job_id = train(client)
        del client.headers["traceparent"]
        expected = ["POST /v1/jobs", "claim", "claim", "collate", "train"]

        def of_job() -> list[Sent]:
            """Those of its trace that are no polls."""
            return [s for s in collector.of(TRACE_ID) if not s.span.name.startswith("GET")]

        wait_until(lambda: names(of_job()) == expected, 30, lambda: names(collector.sent))
        check_trace(of_job(), job_id)
        check_predictions(client, collector, job_id)
        assert not any("healthz" in s.attributes.get("url.path", "") for s in collector.sent)


def check_trace(spans: Sequence[Sent], job_id: str) -> None:
    by_name = {sent.span.name: sent for sent in spans}
    posted, trained, collated = (by_name[n] for n in ("POST /v1/jobs", "train", "collate"))
    assert posted.service == "fmx-server"
    assert posted.span.parent_span_id.hex() == PARENT.split("-")[2]
    assert posted.attributes["http.response.status_code"] == 202
    for sent in spans:
        if sent is not posted:
            assert sent.service == "fmx-worker"
            assert sent.span.parent_span_id == posted.span.span_id
            assert sent.attributes["fmx.job"] == job_id
    assert [event["epoch"] for event in trained.events("epoch")] == [1, 2, 3]
    assert all(event["train_loss"] > 0 for event in trained.events("epoch"))
    assert "training" in [event["name"] for event in trained.events("phase")]
    assert trained.attributes["fmx.state"] == "succeeded"
    assert trained.attributes["fmx.attempt"] == 1
    assert trained.span.end_time_unix_nano <= collated.span.end_time_unix_nano
    assert posted.span.start_time_unix_nano < trained.span.start_time_unix_nano


def check_predictions(client: httpx.Client, collector: Collector, job_id: str) -> None:
    """Those that a client traces are traced, of the others one in a hundred."""
    (model_id,) = client.get(f"/v1/jobs/{job_id}").json()["models"]
    path, body = f"/v1/models/{model_id}/predict", {"images": [IMAGE]}
    asked = {"1" * 32: "01", "2" * 32: "00"}
    for trace_id, flags in asked.items():
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-{flags}"}
        assert client.post(path, json=body, headers=headers).is_success
    for _ in range(50):
        assert client.post(path, json=body).is_success
    name = "POST /v1/models/{model_id}/predict"
    wait_until(lambda: names(collector.of("1" * 32)) == [name], 20)
    assert collector.of("2" * 32) == []
    assert sum(sent.span.name == name for sent in collector.sent) < 20


def test_a_collector_that_is_away_holds_nobody_up(embedded_column: Column) -> None:
    with collecting() as collector:
        column = traced(embedded_column, collector)
    with serve(column) as (process, client):
        train(client)
        assert process.stop() == 0
