"""A new job as rows of its tables: made before a transaction, written with those of other jobs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import PydanticUndefined
from sqlalchemy import Connection, insert
from sqlmodel import SQLModel

from fmx_ml.packs import pack_key
from fmx_ml.requests import JobRequest, spec_hash
from fmx_ml.specs import OwnDataset
from fmx_ml.trainings import PlannedRun, training_hash
from fmx_store.database import Ring
from fmx_store.ids import new_id
from fmx_store.lifecycle import queue_of
from fmx_store.needs import reduce_needs
from fmx_store.states import Role, State
from fmx_store.tables import (
    Event,
    Idempotency,
    Job,
    JobDataset,
    JobTag,
    Run,
    RunNeed,
    now,
    table_of,
)

COLLATION = "collation"

Row = dict[str, Any]


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's key and a hash of what it asked for."""

    key: str
    request_hash: str


@dataclass(frozen=True)
class Origin:
    """Where a job comes from: whose it is, and the place in a trace that its spans belong to."""

    owner: str | None
    traceparent: str | None


NOBODY = Origin(None, None)
"""Of jobs that are submitted where keys are off and traces too."""


@dataclass(frozen=True)
class NewJob:
    """A job that is to be recorded; `runs` has its trainings by name, in the plan's order."""

    request: JobRequest
    planned: Sequence[PlannedRun]
    idempotency: IdempotencyKey | None
    job: Row
    runs: Mapping[str, Row]
    collation: Row

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job["id"]

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each training, by its run's name."""
        return {name: run["training_hash"] for name, run in self.runs.items()}


def draft(
    request: JobRequest,
    planned: Sequence[PlannedRun],
    idempotency: IdempotencyKey | None = None,
    origin: Origin = NOBODY,
) -> NewJob:
    """The rows of a request's job, of whose runs none is taken over yet."""
    at = now()
    job = _make_job(request, origin, at)
    runs = {p.name: _make_run(job, request, p, i, at) for i, p in enumerate(planned)}
    collation = {
        **_base_run(job, at),
        "position": len(planned),
        "name": COLLATION,
        "role": Role.COLLATION,
        "device": "auto",
        "training": None,
        "training_hash": None,
        "pack_key": None,
    }
    return NewJob(request, planned, idempotency, job, runs, collation)


def write(
    connection: Connection, new: Sequence[NewJob], taken: Mapping[str, Collection[str]]
) -> list[Ring]:
    """Inserts jobs, with one statement a table; answers the runs that are due.

    `taken` names, by the job's id, runs whose results will be taken over in this transaction.
    """
    needs = {item.id: _needs_of(item, taken.get(item.id, ())) for item in new}
    due = [run for item in new for run in _count_needs(item, needs[item.id], taken)]
    rows: dict[type[SQLModel], list[Row]] = {
        Job: [item.job for item in new],
        Idempotency: [_make_idempotency(item, key) for item in new if (key := item.idempotency)],
        JobTag: [_make_tag(item, tag) for item in new for tag in item.request.tags],
        Event: [_make_event(item) for item in new],
        Run: [run for item in new for run in (*item.runs.values(), item.collation)],
        RunNeed: [need for item in new for need in needs[item.id]],
        JobDataset: [row for item in new if (row := _name_dataset(item)) is not None],
    }
    for model, found in rows.items():
        if found:
            connection.execute(insert(table_of(model)), found)
    return [(run["id"], queue_of(run["device"])) for run in due]


def _defaults(model: type[SQLModel]) -> Row:
    """What a row of a table has that is told nothing else; None is left to the database."""
    defaults = {name: field.default for name, field in model.model_fields.items()}
    return {n: v for n, v in defaults.items() if v is not None and v is not PydanticUndefined}


_JOB, _RUN = _defaults(Job), _defaults(Run)


def _make_job(request: JobRequest, origin: Origin, at: datetime) -> Row:
    return {
        **_JOB,
        "id": new_id(),
        "owner": origin.owner,
        "traceparent": origin.traceparent,
        "kind": request.kind,
        "preset": request.preset,
        "name": request.name,
        "priority": request.priority,
        "time_limit_seconds": request.time_limit_seconds,
        "spec": request.spec.model_dump(mode="json"),
        "spec_hash": spec_hash(request.kind, request.spec),
        "version": 1,
        "created_at": at,
    }


def _base_run(job: Row, at: datetime) -> Row:
    mine = {"id": new_id(), "job_id": job["id"], "priority": job["priority"]}
    return {**_RUN, **mine, "rung_at": None, "created_at": at}


def _make_run(
    job: Row, request: JobRequest, planned: PlannedRun, position: int, at: datetime
) -> Row:
    return {
        **_base_run(job, at),
        "position": position,
        "name": planned.name,
        "role": Role.TRAINING,
        "device": request.spec.device,
        "training": planned.training.model_dump(mode="json"),
        "training_hash": training_hash(planned.training),
        "pack_key": pack_key(planned.training),
        "epochs_total": planned.max_epochs,
    }


def _make_idempotency(item: NewJob, key: IdempotencyKey) -> Row:
    mine = {"owner": item.job["owner"] or "", "created_at": item.job["created_at"]}
    return {**vars(key), **mine, "job_id": item.id}


def _make_tag(item: NewJob, tag: str) -> Row:
    return {"job_id": item.id, "tag": tag, "owner": item.job["owner"]}


def _name_dataset(item: NewJob) -> Row | None:
    """What keeps a registered data set while the job is there."""
    for planned in item.planned:
        learnt = planned.training.dataset
        if isinstance(learnt, OwnDataset) and learnt.name == item.request.spec.dataset:
            return {"job_id": item.id, "name": learnt.name, "contents": learnt.sha256}
    return None


def _make_event(item: NewJob) -> Row:
    """The job's first: it was queued."""
    return {
        "job_id": item.id,
        "seq": item.job["version"],
        "type": "job",
        "data": {"state": State.QUEUED, "reason": None},
        "at": item.job["created_at"],
    }


def _needs_of(item: NewJob, taken: Collection[str]) -> list[Row]:
    """What each run that is not taken over waits for; the collation, for all of them."""
    ids = {name: run["id"] for name, run in item.runs.items()}
    edges = [
        (ids[name], ids[needed])
        for name, all_of in reduce_needs(item.planned, taken).items()
        for needed in all_of
    ]
    edges += [(item.collation["id"], run_id) for run_id in ids.values()]
    return [{"run_id": run_id, "needs_id": needs_id} for run_id, needs_id in edges]


def _count_needs(
    item: NewJob, needs: Sequence[Row], taken: Mapping[str, Collection[str]]
) -> list[Row]:
    """Sets how many runs each of a job's runs waits for; answers those that wait for none."""
    names = taken.get(item.id, ())
    ended = {item.runs[name]["id"] for name in names}
    waiting = dict.fromkeys((run["id"] for run in item.runs.values()), 0)
    waiting[item.collation["id"]] = 0
    for need in needs:
        waiting[need["run_id"]] += need["needs_id"] not in ended
    due: list[Row] = []
    for run in (*item.runs.values(), item.collation):
        run["waiting_for"] = waiting[run["id"]]
        if run["id"] not in ended and run["waiting_for"] == 0:
            run["rung_at"] = now()
            due.append(run)
    return due
