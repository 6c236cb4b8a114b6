"""Prometheus' text of what was counted: families of samples, made when somebody asks.

No label has more values than the server has routes, states or queues, but for models and workers,
which are bounded.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from api.observed.traffic import SECONDS, Times, Traffic
from api.predict.statistics import Statistics
from fmx_store.figures import Figures

OPENMETRICS = "application/openmetrics-text"
MAX_WORKERS = 200  # that are told apart
OTHERS = "other"  # models and workers that are not

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_NS = 1e9  # in a second


@dataclass(frozen=True)
class Observed:
    """Everything that is told; `figures` is None where the record could not be read."""

    version: str
    traffic: Traffic
    statistics: Sequence[Statistics]
    num_loaded: int
    figures: Figures | None


def expose(observed: Observed, accept: str) -> tuple[bytes, str]:
    """The text and its media type: OpenMetrics where an Accept header names it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(observed))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    # prometheus_client's own choice raises TypeError over versions that are none.
    if any(part.partition(";")[0].strip() == OPENMETRICS for part in accept.lower().split(",")):
        return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _Families(Collector):
    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def collect(self) -> Iterator[Metric]:
        observed = self._observed
        yield InfoMetricFamily("fmx", "Which fmx this is.", {"version": observed.version})
        yield from _requests(observed.traffic)
        yield from _predictions(observed.statistics)
        yield _gauge("fmx_models_loaded", "Models in memory.", observed.num_loaded)
        is_read = observed.figures is not None
        yield _gauge("fmx_record_up", "Whether the record could be read.", is_read)
        if observed.figures is not None:
            yield from _record(observed.figures)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, float(value))


def _gauges(name: str, text: str, label: str, values: Mapping[Any, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for name_of, value in values.items():
        family.add_metric([name_of], value)
    return family


def _requests(traffic: Traffic) -> Iterator[Metric]:
    counts = CounterMetricFamily(
        "fmx_http_requests", "Requests answered.", labels=["method", "route", "status"]
    )
    by_route: dict[tuple[str, str], Times] = {}
    for (method, route, status), times in traffic.answered.items():
        counts.add_metric([method, route, str(status)], sum(times.counts))
        by_route[method, route] = _join(by_route.get((method, route)), times)
    yield counts
    latency = HistogramMetricFamily(
        "fmx_http_request_duration_seconds",
        "From a request's head to the end of its answer.",
        labels=["method", "route"],
    )
    for (method, route), times in by_route.items():
        latency.add_metric([method, route], _buckets(SECONDS, times.counts), times.seconds)
    yield latency
    yield _gauges(
        "fmx_http_streams",
        "Answers under way whose parts come one by one.",
        "route",
        traffic.streams,
    )


def _join(before: Times | None, times: Times) -> Times:
    if before is None:
        return times
    counts = [a + b for a, b in zip(before.counts, times.counts, strict=True)]
    return Times(counts, before.seconds + times.seconds)


def _buckets(bounds: Iterable[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """How many were at or below each bound, as Prometheus has it; the last count is beyond all."""
    told: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        told.append((bound, float(total)))
    return told


def _predictions(statistics: Sequence[Statistics]) -> Iterator[Metric]:
    pictures = CounterMetricFamily(
        "fmx_predicted_pictures", "Pictures that a model was asked of.", labels=["model"]
    )
    requests = CounterMetricFamily(
        "fmx_prediction_requests", "Requests that reached a model.", labels=["model", "outcome"]
    )
    queued = CounterMetricFamily(
        "fmx_prediction_queue_seconds", "Waited for a batch to begin.", labels=["model"]
    )
    computed = CounterMetricFamily(
        "fmx_prediction_compute_seconds", "In the model, each batch once.", labels=["model"]
    )
    for one in statistics:
        name = one.model_id or OTHERS
        pictures.add_metric([name], one.num_pictures)
        requests.add_metric([name, "success"], one.success.count)
        requests.add_metric([name, "failure"], one.fail.count)
        queued.add_metric([name], one.queue.ns / _NS)
        in_model = sum(compute.infer.ns for compute in one.batches.values())
        computed.add_metric([name], in_model / _NS)
    yield from (pictures, requests, queued, computed, _batches(statistics))


def _batches(statistics: Sequence[Statistics]) -> HistogramMetricFamily:
    sizes = Counter[int]()
    for one in statistics:
        for size, compute in one.batches.items():
            sizes[size] += compute.infer.count
    counts = [0] * (len(_BATCH_SIZES) + 1)
    for size, count in sizes.items():
        counts[sum(size > bound for bound in _BATCH_SIZES)] += count
    family = HistogramMetricFamily("fmx_prediction_batch_pictures", "Pictures of a batch.")
    total = sum(size * count for size, count in sizes.items())
    family.add_metric([], _buckets(map(float, _BATCH_SIZES), counts), total)
    return family


def _record(figures: Figures) -> Iterator[Metric]:
    yield _gauges("fmx_jobs", "Jobs by state.", "state", figures.jobs)
    runs = GaugeMetricFamily("fmx_runs", "Trainings by state and queue.", labels=["state", "queue"])
    for (state, queue), count in figures.runs.items():
        runs.add_metric([state, queue], count)
    yield runs
    yield _gauges("fmx_due_runs", "Runs that wait for a worker alone.", "queue", figures.due)
    age = "Since the oldest due run was recorded; 0 where none is due."
    yield _gauge("fmx_oldest_due_run_age_seconds", age, figures.oldest_due_seconds)
    yield _gauge("fmx_workers", "Workers that hold runs.", len(figures.worker_runs))
    workers = _bound(figures.worker_runs, MAX_WORKERS)
    yield _gauges("fmx_worker_runs", "Runs that a worker holds.", "worker", workers)
    yield _gauge("fmx_epochs", "Epochs of the trainings that are there.", figures.num_epochs)
    yield _gauge("fmx_stored_bytes", "Bytes of stored files.", figures.stored_bytes)
    if figures.record_bytes is not None:
        yield _gauge("fmx_record_bytes", "Bytes of the database.", figures.record_bytes)


def _bound(values: Mapping[str, int], most: int) -> Mapping[str, int]:
    """The largest so many, and the sum of the others."""
    ranked = Counter(values).most_common()
    rest = sum(value for _, value in ranked[most:])
    return dict(ranked[:most]) | ({OTHERS: rest} if rest else {})
