"""How soon a job runs on an idle worker, and what the server costs a training.

Everything is real: server, broker, record, worker. Jobs are submitted one after another.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measuring import Row
from benchmarks.served import run_redis, serve, submit, wait_for_end
from fmx_ml.data.sources import DataSources
from fmx_ml.pipelines import train
from fmx_ml.requests import parse_request, plan
from fmx_ml.sinks import FolderSink
from fmx_store import jobs
from fmx_store.database import Database
from fmx_store.settings import get_settings

NUM_JOBS = 30  # submitted to an idle worker, for each broker
SMALL = {"dataset": "synthetic", "max_epochs": 1, "batch_size": 1000}
EPOCHS = 8
MAX_ROUNDS = 3  # of whole trainings, which take a quarter of a minute each
LOOK_SECONDS = 0.01
IDLE_SECONDS = 0.3  # between a job's end and the next one


def measure(rounds: int) -> list[Row]:
    """Every row about waiting and overhead."""
    rows: list[Row] = []
    with ExitStack() as stack:
        redis_url = stack.enter_context(run_redis())
        brokers = {"embedded": "", **({"redis": redis_url} if redis_url else {})}
        for name, url in brokers.items():
            with serve(broker_url=url, worker_threads=1) as (client, db):
                rows.append(measure_queue(client, db, name))
    with serve(worker_threads=1) as (client, _):
        rows += measure_overhead(client, rounds)
    return rows


def measure_queue(client: httpx.Client, db: Database, broker: str) -> Row:
    """From the answer to a submission to when its run is running in the record.

    After the first job that is the collation: the training is taken over, so each job ends soon.
    """
    first, _ = submit(client, spec=SMALL)
    wait_for_end(client, first)
    waits: list[float] = []
    for _ in range(NUM_JOBS):
        time.sleep(IDLE_SECONDS)
        job_id, answered = submit(client, spec=SMALL, reuse=True)
        wait_for_end(client, job_id)
        started = jobs.list_runs(db, job_id)[-1].started_at
        assert started is not None
        waits.append(1000 * max(0.0, started.timestamp() - answered))
    p99 = sorted(waits)[-1 - NUM_JOBS // 100]
    return Row(
        name=f"queued_to_running_{broker}_p99_ms",
        value=p99,
        unit="ms",
        spread=(min(waits), max(waits)),
        ours=statistics.median(waits),
        note=f"{NUM_JOBS} jobs one after another; ours is the median in ms",
    )


def measure_overhead(client: httpx.Client, rounds: int) -> list[Row]:
    """The same training in the worker and as a script, one thread each, in turn."""
    served: list[dict[str, float]] = []
    alone: list[dict[str, float]] = []
    for number in range(min(rounds, MAX_ROUNDS) + 1):
        served.append(train_served(client, number))
        alone.append(train_alone(number))
    del served[0], alone[0]  # not measured: files are not cached yet
    first_epochs = [each["first_epoch"] for each in served]
    return [
        overhead("overhead_percent", served, alone, "whole"),
        overhead("overhead_of_epochs_percent", served, alone, "epochs"),
        Row(
            name="submit_to_first_epoch_s",
            value=statistics.median(first_epochs),
            unit="s",
            spread=(min(first_epochs), max(first_epochs)),
            ours=statistics.median(first_epochs),
            other=statistics.median(each["first_seconds"] for each in alone),
            note="with the epoch itself, which is the other figure",
        ),
    ]


def overhead(
    name: str, served: Sequence[dict[str, float]], alone: Sequence[dict[str, float]], part: str
) -> Row:
    """How much longer a part takes in the worker, in percent of the script."""
    ours, other = [each[part] for each in served], [each[part] for each in alone]
    percents = sorted(100 * (a / b - 1) for a, b in zip(ours, other, strict=True))
    mine, script = statistics.median(ours), statistics.median(other)
    return Row(
        name=name,
        value=100 * (mine / script - 1),
        unit="percent",
        spread=(percents[0], percents[-1]),
        ours=mine,
        other=script,
        note=f"{EPOCHS} epochs of Q1; the spread is that of the pairs",
    )


def spec_of(seed: int) -> dict[str, Any]:
    """Q1 with so many epochs; a seed of its own, so that nothing is taken over."""
    return {"max_epochs": EPOCHS, "seeds": [seed]}


def train_served(client: httpx.Client, seed: int) -> dict[str, float]:
    """Seconds of a training in the worker: from its claim to its written end, and its epochs'."""
    job_id, answered = submit(client, spec=spec_of(seed))
    while client.get(f"/v1/jobs/{job_id}").json()["progress"]["completed"] == 0:
        time.sleep(LOOK_SECONDS)
    first_epoch = time.time() - answered
    wait_for_end(client, job_id)
    (run,) = client.get(f"/v1/jobs/{job_id}/runs").raise_for_status().json()["items"]
    metrics = client.get(f"/v1/runs/{run['id']}/metrics").raise_for_status().json()
    column = metrics["columns"].index("seconds")
    return {
        "whole": read_moment(run["finished_at"]) - read_moment(run["started_at"]),
        "epochs": sum(row[column] for row in metrics["rows"]),
        "first_epoch": first_epoch,
    }


def train_alone(seed: int) -> dict[str, float]:
    """Seconds of the same training in this process."""
    training = plan(parse_request({"kind": "q1", "spec": spec_of(seed)}))[0].training
    settings = get_settings()
    sources = DataSources(settings.dataset_dir, settings.cache_dir)
    with tempfile.TemporaryDirectory() as folder:
        sink = FolderSink(Path(folder))
        began = time.perf_counter()
        train(training, sink, sources=sources, device="cpu", num_threads=1)
        whole = time.perf_counter() - began
    seconds = [metrics.seconds for metrics in sink.history]
    return {"whole": whole, "epochs": sum(seconds), "first_seconds": seconds[0]}


def read_moment(text: str) -> float:
    """A moment of the server, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
