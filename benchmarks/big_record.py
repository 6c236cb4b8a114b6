"""A record of many jobs, runs and epochs, written as plain rows in seconds."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import insert

from fmx_ml.requests import parse_request, plan
from fmx_store import new_jobs
from fmx_store.database import Database
from fmx_store.ids import new_id
from fmx_store.new_jobs import NewJob
from fmx_store.states import State
from fmx_store.tables import Artifact, Blob, Job, Metric, Model, Run, now, table_of

Row = dict[str, Any]

EPOCHS_OF_ONE = 10_000  # of the oldest job's training, the most that a request may ask for
FILES_OF_ONE = 1_000  # of the oldest job
JOBS_AT_ONCE = 2_000

TAGS = ("common", "rare")  # on each job, and on each thousandth
RARE = 1_000
QUEUED = 10  # each tenth job waits; the others have succeeded


def fill(db: Database, num_jobs: int, num_metrics: int) -> str:
    """Writes jobs of one training each, and their epochs; answers the oldest job's id."""
    jobs = _make_jobs(num_jobs)
    oldest = ""
    while some := list(islice(jobs, JOBS_AT_ONCE)):
        with db.write() as session:
            connection = session.connection()
            new_jobs.write(connection, some, {})
            if not oldest:
                oldest = some[0].id
                _add_files(connection, some[0])
            ended = [item for item in some if item.job["state"] is State.SUCCEEDED]
            connection.execute(insert(table_of(Model)), [_model(item) for item in ended])
            each = max(1, (num_metrics - EPOCHS_OF_ONE) // num_jobs * QUEUED // (QUEUED - 1))
            counts = {item.id: EPOCHS_OF_ONE if item.id == oldest else each for item in ended}
            connection.execute(insert(table_of(Metric)), _metrics(ended, counts))
    return oldest


def _make_jobs(number: int) -> Iterator[NewJob]:
    request = parse_request({"kind": "q1", "preset": "quick", "tags": TAGS[:1]})
    rare = parse_request({"kind": "q1", "preset": "quick", "tags": TAGS})
    planned = plan(request)
    began = now() - timedelta(seconds=number)
    for i in range(number):
        item = new_jobs.draft(rare if i % RARE == 0 else request, planned, None)
        if i % QUEUED != QUEUED - 1:
            _end(item, began + timedelta(seconds=i))
        yield item


def _end(item: NewJob, at: datetime) -> None:
    """Makes the rows those of a job that has succeeded."""
    for row in (item.job, *item.runs.values(), item.collation):
        row.update(state=State.SUCCEEDED, created_at=at)
