"""From a claimed run to the order of its trainer."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from fmx_ml.data.sources import DataSources
from fmx_ml.packs import pack_limit
from fmx_ml.results import NeededRun, RunOutcome
from fmx_ml.sinks import SavedCheckpoint
from fmx_ml.specs import Device, OwnDataset
from fmx_ml.trainings import parse_training
from fmx_store import jobs
from fmx_store.artifacts import artifacts_of_runs
from fmx_store.claims import Claim
from fmx_store.errors import BlobError
from fmx_store.metrics import read_histories
from fmx_store.needs import list_needed
from fmx_store.settings import Settings
from fmx_store.states import Role, State
from fmx_store.tables import Run
from worker.context import Context
from worker.orders import CollateOrder, Order, TrainMember, TrainOrder
from worker.scratch import Scratch

_log = logging.getLogger(__name__)

USEFUL_THREADS = 2  # measured: the report's networks are too small to feed more


def make_order(context: Context, pack: Sequence[tuple[Claim, Scratch]]) -> Order:
    """What the trainer is to do. Raises BlobError where a file that it needs is missing."""
    claim, scratch = pack[0]
    if claim.run.role is Role.COLLATION:
        return _collation(context, claim, scratch)
    settings = context.settings
    return TrainOrder(
        members=[_member(context, claim, scratch) for claim, scratch in pack],
        device=_device(context, claim.run),
        num_threads=num_threads(settings),
        engine=settings.worker_engine,
        sources=_sources(context, claim, scratch),
    )


def _sources(context: Context, claim: Claim, scratch: Scratch) -> DataSources:
    """Where the pictures are; a pack learns from one data set, whose file comes from the store."""
    settings = context.settings
    learnt = parse_training(claim.run.training).dataset
    own = None
    if isinstance(learnt, OwnDataset):
        own = _localise(context, learnt.sha256, scratch.inputs / "dataset.safetensors")
    return DataSources(
        dataset_dir=settings.dataset_dir,
        cache_dir=settings.cache_dir,
        download=settings.dataset_download,
        timeout_seconds=settings.dataset_timeout_seconds,
        own=own,
    )


def _member(context: Context, claim: Claim, scratch: Scratch) -> TrainMember:
    return TrainMember.model_validate(
        {
            "folder": scratch.artifacts,
            "log": scratch.log,
            "training": claim.run.training,
            "needed": _collect(context, list_needed(context.db, claim.run), scratch),
            "continuation": {
                "earlier": list(_earlier(context, claim, scratch)),
                "folder": scratch.checkpoints,
                "seconds": context.settings.checkpoint_seconds,
            },
        }
    )


def _earlier(context: Context, claim: Claim, scratch: Scratch) -> Iterator[SavedCheckpoint]:
    """What the run can go on from. Without one that can't be had, it goes further back."""
    for stored in claim.checkpoints:
        copy = scratch.inputs / "checkpoints" / f"epoch-{stored.epoch}.safetensors"
        try:
            path = _localise(context, stored.sha256, copy)
        except (OSError, BlobError) as error:
            _log.warning("run %s: no checkpoint of epoch %d: %s", claim.run.id, stored.epoch, error)
        else:
            yield SavedCheckpoint(epoch=stored.epoch, path=path, sha256=stored.sha256)


def _device(context: Context, run: Run) -> Device:
    return "cpu" if context.hardware == "cpu" else TypeAdapter(Device).validate_python(run.device)


def pack_size(context: Context) -> Callable[[Run], int]:
    """How many runs of a kind this worker trains together at most: as set, or as many as pay."""

    def most(run: Run) -> int:
        if run.training is None:
            return 1
        as_set = context.settings.worker_pack
        return as_set or pack_limit(parse_training(run.training), context.hardware)

    return most


def pack_shares(context: Context, num_slots: int) -> int:
    """Into how many parts a worker's processes cut a pack: on a GPU, which they share, into one.

    Processes take turns on a GPU, so the parts would take as long one after the other as the
    whole takes once.
    """
    return 1 if context.hardware == "cuda" else num_slots


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
    finished = _collect(context, succeeded, scratch)
    return CollateOrder.model_validate(
        {
            "folder": scratch.artifacts,
            "log": scratch.log,
            "kind": claim.job.kind,
            "preset": claim.job.preset,
            "spec": claim.job.spec,
            "outcomes": [run.outcome for run in finished],
            "inputs": {run.outcome.name: run.files for run in finished},
        }
    )


def _collect(context: Context, runs: Sequence[Run], scratch: Scratch) -> list[NeededRun]:
    """What finished runs have left, in a few queries, however many they are."""
    ids = [run.id for run in runs]
    histories = read_histories(context.db, ids)
    artifacts = artifacts_of_runs(context.db, ids)
    return [
        NeededRun(
            outcome=RunOutcome(
                name=run.name,
                training=parse_training(run.training),
                history=histories[run.id],
                summary=run.summary or {},
            ),
            files={
                name: _localise(context, artifact.sha256, scratch.inputs / run.name / name)
                for name, artifact in artifacts[run.id].items()
            },
        )
        for run in runs
    ]


def _localise(context: Context, sha256: str, copy: Path) -> Path:
    """A blob as a local file: the stored one, or a copy of it.

    Raises BlobError, StorageUnavailableError.
    """
    return context.blobs.fetch(sha256, copy)
