"""Runs, and their epochs as JSON or CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from api import examples
from api.conditional import prefers_csv
from api.dependencies import AppSettings, Db, JobId, RunId
from api.json_body import JSON_TYPE
from api.openapi import answer, problem_responses
from api.paging import check_limit
from api.queries import CurvesQuery, MetricsQuery, PageQuery
from api.schemas import CurvesBody, MetricsBody, RunBody, RunPage
from api.views import run_bodies
from fmx_ml.sinks import EpochMetrics
from fmx_store import jobs
from fmx_store.curves import CURVE_COLUMNS, read_curves
from fmx_store.metrics import read_rows

router = APIRouter(prefix="/v1", tags=["runs"])

CSV_TYPE = "text/csv"
_CSV_EXAMPLE = "epoch,train_loss,train_accuracy,val_loss,val_accuracy,seconds\r\n1,0.3521,…\r\n"
_METRICS_ANSWER = answer(200, examples.METRICS, description="The epochs so far.")
_METRICS_ANSWER[200]["content"][CSV_TYPE] = {
    "schema": {"type": "string"},
    "example": _CSV_EXAMPLE,
}


@router.get(
    "/jobs/{job_id}/runs",
    summary="List a job's runs",
    responses={**answer(200, examples.page(examples.RUN)), **problem_responses(404, 422)},
)
def get_runs(
    job_id: JobId, db: Db, settings: AppSettings, query: Annotated[PageQuery, Query()]
) -> RunPage:
    limit = check_limit(query.limit, settings)
    page = jobs.page_runs(db, job_id, limit=limit, cursor=query.cursor)
    return RunPage(items=run_bodies(db, page.items), next_cursor=page.next_cursor)


@router.get(
    "/runs/{run_id}",
    summary="Show a run",
    responses={**answer(200, examples.RUN), **problem_responses(404, 422)},
)
def get_run(run_id: RunId, db: Db) -> RunBody:
    run = jobs.require_run(db, run_id)
    return run_bodies(db, [run])[0]


@router.get(
    "/runs/{run_id}/metrics",
    response_model=MetricsBody,
    summary="Show a run's epochs",
    responses={**_METRICS_ANSWER, **problem_responses(404, 422)},
)
def get_metrics(
    run_id: RunId, db: Db, request: Request, query: Annotated[MetricsQuery, Query()]
) -> Any:
    run = jobs.require_run(db, run_id)
    rows = read_rows(db, run.id, query.max_points)
    columns = EpochMetrics.columns()
    wants_csv = query.format is None and prefers_csv(request.headers.get("accept"))
    if query.format == "csv" or wants_csv:
        content, media_type = _to_csv(columns, rows), CSV_TYPE
    else:
        # Not through the body's model: there may be tens of thousands of numbers.
        body = {"run": run.id, "columns": columns, "rows": rows}
        content, media_type = orjson.dumps(body), JSON_TYPE
    return Response(content, headers={"Vary": "Accept"}, media_type=media_type)


@router.get(
    "/jobs/{job_id}/metrics",
    response_model=CurvesBody,
    summary="Show the epochs of all runs of a job",
    responses={**answer(200, examples.CURVES), **problem_responses(404, 422)},
)
def get_curves(job_id: JobId, db: Db, query: Annotated[CurvesQuery, Query()]) -> Any:
    heads, curves = read_curves(db, job_id, query.max_points)
    runs = [
        {
            "run": head.id,
            "name": head.name,
            "state": head.state,
            "attempt": head.attempt,
            "rows": curves.get(head.id, ()),
        }
        for head in heads
    ]
    # Not through the body's model: there may be a hundred thousand numbers.
    body = {"job": job_id, "columns": CURVE_COLUMNS, "runs": runs}
    return Response(orjson.dumps(body), media_type=JSON_TYPE)


def _to_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The table as CSV (RFC 4180); what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
