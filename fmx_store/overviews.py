"""Jobs as lists and polls show them: read as plain rows, any number in a few queries.

The rows are no objects of a session, which would take several times as long to make.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.states import Reason, State
from fmx_store.tables import Job, JobTag, Model, table_of
from fmx_store.tallies import Tally, read_tallies
from fmx_store.viewers import Record, only_seen

Version = tuple[int, State]
"""A job's version and state."""


@dataclass(frozen=True)
class Overview:
    """A job without its results, what its trainings come to, its tags, and its models' ids.

    The tags are in alphabetical order, the models in the order they were made.
    """

    id: str
    kind: str
    preset: str
    name: str | None
    priority: int
    time_limit_seconds: int | None
    spec: dict[str, Any]
    spec_hash: str
    state: State
    reason: Reason | None
    error: dict[str, Any] | None
    version: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    tally: Tally
    tags: Sequence[str]
    models: Sequence[str]


_NOT_OF_THE_ROW = {"tally", "tags", "models"}

_JOB, _TAG, _MODEL = table_of(Job), table_of(JobTag), table_of(Model)
_IDS = bindparam("ids", expanding=True)

# Rows of the job table that `complete` makes overviews of.
HEADS = select(*(_JOB.c[f.name] for f in fields(Overview) if f.name not in _NOT_OF_THE_ROW))
_HEADS_BY_ID = HEADS.where(_JOB.c.id.in_(_IDS))
_VERSIONS = select(_JOB.c.id, _JOB.c.version, _JOB.c.state, _JOB.c.owner).where(_JOB.c.id.in_(_IDS))
_TAGS = select(_TAG.c.job_id, _TAG.c.tag).where(_TAG.c.job_id.in_(_IDS))
_MODELS = (
    select(_MODEL.c.job_id, _MODEL.c.id).where(_MODEL.c.job_id.in_(_IDS)).order_by(_MODEL.c.id)
)


def read_versions(db: Database, job_ids: Sequence[str]) -> dict[str, Version]:
    """The version and state of each job that there is."""
    return {job_id: version for job_id, (version, _) in read_owned_versions(db, job_ids).items()}


def read_owned_versions(
    db: Database, job_ids: Sequence[str]
) -> dict[str, tuple[Version, str | None]]:
    """The version of each job that there is, and its owner, by the cheapest query there is.

    For a caller that reads the jobs of many viewers at once, and asks `Viewer.sees` for each.
    """
    ids = [job_id for job_id in job_ids if is_id(job_id)]
    with db.look() as connection:
        rows = connection.execute(_VERSIONS, {"ids": ids})
        return {job_id: ((version, state), owner) for job_id, version, state, owner in rows}


def read_overviews(db: Record, job_ids: Sequence[str]) -> dict[str, Overview]:
    """The overview of each job that there is."""
    ids = [job_id for job_id in job_ids if is_id(job_id)]
    query = _HEADS_BY_ID.where(*only_seen(db, _JOB.c.owner))
    with db.look() as connection:
        heads = connection.execute(query, {"ids": ids}).all()
        return {head.id: head for head in complete(connection, heads)}


def require_overview(db: Record, job_id: str) -> Overview:
    """The overview of one job. Raises NotFoundError."""
    found = read_overviews(db, [job_id])
    if job_id not in found:
        raise NotFoundError("job", job_id)
    return found[job_id]


def complete(connection: Connection, heads: Sequence[Any]) -> list[Overview]:
    """The overviews whose rows of the job table these are, in their order."""
    ids = [head.id for head in heads]
    tallies = read_tallies(connection, ids)
    tags, models = _read_lists(connection, _TAGS, ids), _read_lists(connection, _MODELS, ids)
    # Tags are sorted here, since databases order text by rules of their own.
    return [
        Overview(*head, tally=tallies[head.id], tags=sorted(tags[head.id]), models=models[head.id])
        for head in heads
    ]


def _read_lists(
    connection: Connection, query: Select[Any, Any], ids: Sequence[str]
) -> dict[str, list[str]]:
    """What a query for jobs' ids and texts gives, by the job."""
    found = defaultdict[str, list[str]](list)
    for job_id, text in connection.execute(query, {"ids": ids}):
        found[job_id].append(text)
    return found
