"""From a claimed run to the order and the environment of its trainer."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fmx_ml.data.sources import DataSources
from fmx_ml.results import RunOutcome
from fmx_ml.specs import CnnTraining
from fmx_store import jobs
from fmx_store.artifacts import artifacts_of_run
from fmx_store.claims import Claim
from fmx_store.metrics import read_metrics
from fmx_store.settings import Settings
from fmx_store.states import Role, State
from fmx_store.tables import Run
from worker.context import Context
from worker.orders import CollateOrder, Order, TrainOrder
from worker.scratch import Scratch

USEFUL_THREADS = 2  # measured: the report's networks are too small to feed more

_SECRETS = {"FMX_DATABASE_URL", "FMX_BROKER_URL", "FMX_STORAGE_URL"}


def make_order(context: Context, claim: Claim, scratch: Scratch) -> Order:
    """What the trainer is to do. Raises BlobError where a file that it needs is missing."""
    if claim.run.role is Role.COLLATION:
        return _collation(context, claim, scratch)
    return _training(context, claim, scratch)


def _training(context: Context, claim: Claim, scratch: Scratch) -> TrainOrder:
    settings = context.settings
    return TrainOrder.model_validate(
        {
            "folder": scratch.artifacts,
            "training": claim.run.training,
            "device": claim.run.device if context.hardware == "cuda" else "cpu",
            "num_threads": num_threads(settings),
            "sources": DataSources(
                dataset_dir=settings.dataset_dir,
                cache_dir=settings.cache_dir,
                download=settings.dataset_download,
                timeout_seconds=settings.dataset_timeout_seconds,
            ),
        }
    )


def num_threads(settings: Settings) -> int:
    """CPU threads of one training: as set, or its share of the cores but one.

    Two threads wait for each other at every layer. Where a third process wants a core, one of them
    is always the one that waits, and an epoch of the report's networks takes eight times as long;
    so a core is left to the server, the database and whoever else is there.
    """
    if settings.worker_threads is not None:
        return settings.worker_threads
    num_cores = len(os.sched_getaffinity(0))
    return max(1, min(USEFUL_THREADS, (num_cores - 1) // settings.worker_concurrency))


def _collation(context: Context, claim: Claim, scratch: Scratch) -> CollateOrder:
    succeeded = [
        run
        for run in jobs.list_runs(context.db, claim.job.id)
        if run.role is Role.TRAINING and run.state is State.SUCCEEDED
    ]
    return CollateOrder.model_validate(
        {
            "folder": scratch.artifacts,
            "kind": claim.job.kind,
            "preset": claim.job.preset,
            "spec": claim.job.spec,
            "outcomes": [_outcome(context, run) for run in succeeded],
            "inputs": {run.name: _inputs(context, run, scratch) for run in succeeded},
        }
    )


def _outcome(context: Context, run: Run) -> RunOutcome:
    return RunOutcome(
        name=run.name,
        training=CnnTraining.model_validate(run.training),
        history=read_metrics(context.db, run.id),
        summary=run.summary or {},
    )


def _inputs(context: Context, run: Run, scratch: Scratch) -> dict[str, Path]:
    """Each of a run's artifacts as a local file: the stored one, or a copy of it."""
    found: dict[str, Path] = {}
    for name, artifact in artifacts_of_run(context.db, run.id).items():
        path = context.blobs.get_path(artifact.sha256)
        if path is None:
            path = scratch.inputs / run.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with context.blobs.open(artifact.sha256) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        found[name] = path
    return found


def make_environment(settings: Settings, scratch: Scratch) -> Mapping[str, str]:
    """The trainer's environment: temporary files go with the attempt, caches stay.

    The addresses of the record, which may hold passwords, are not for it.
    """
    return {
        "MPLCONFIGDIR": str(settings.cache_dir / "matplotlib"),
        **{name: value for name, value in os.environ.items() if name not in _SECRETS},
        "TMPDIR": str(scratch.temporary),
        "PYTHONFAULTHANDLER": "1",  # a crash in foreign code says where in the log
        "PYTHONUNBUFFERED": "1",
    }
