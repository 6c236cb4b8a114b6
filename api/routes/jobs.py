"""Jobs: submit, list, show and wait, cancel, retry, delete; and what a job results in."""

import logging
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from api import examples
from api.conditional import matches, preferred_wait
from api.dependencies import App, AppSettings, Db, JobId, JobJson
from api.json_body import JSON_TYPE
from api.openapi import answer, header, job_request_body, problem_responses
from api.outcomes import require_manifest, require_results
from api.paging import check_limit
from api.permissions import grant_of
from api.queries import JobQuery
from api.schemas import JobBody, JobPage, ResultsBody
from api.shown_jobs import ShownJob, show
from api.submissions import KEY_PATTERN, check_key
from api.views import job_body, job_etag, job_path
from fmx_store import jobs
from fmx_store.overviews import require_overview
from fmx_store.states import ENDED, State

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_log = logging.getLogger(__name__)

_WAIT_HEADERS = [
    header("Prefer", "Wait for the job to end, or, with If-None-Match, to change.", "wait=30"),
    header("If-None-Match", "The ETag of the body you have.", f'"{examples.JOB_ID}-3"'),
]


@router.post(
    "",
    status_code=202,
    response_model=JobBody,
    summary="Submit a job",
    responses={
        **answer(202, examples.JOB, description="Recorded; it runs when a worker is free."),
        **problem_responses(400, 409, 413, 415, 422, 429, 507),
    },
    openapi_extra=job_request_body(),
)
async def post_job(
    value: JobJson,
    db: Db,
    services: App,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="With the same key a job is recorded once.",
            json_schema_extra={"pattern": KEY_PATTERN},
        ),
    ] = None,
) -> Any:
    accepted = await services.submissions.submit(value, db.viewer, check_key(idempotency_key))
    headers = {"Idempotent-Replayed": "true"} if accepted.replayed else {}
    return _accepted(accepted.job_id, accepted.shown, headers)


def _accepted(job_id: str, shown: ShownJob, headers: Mapping[str, str] | None = None) -> Response:
    mine = {"Location": job_path(job_id), "ETag": shown.etag}
    return Response(shown.content, 202, {**mine, **(headers or {})}, JSON_TYPE)


@router.get(
    "",
    response_model=JobPage,
    summary="List jobs, newest first",
    responses={**answer(200, examples.page(examples.JOB)), **problem_responses(422)},
)
def get_jobs(db: Db, settings: AppSettings, query: Annotated[JobQuery, Query()]) -> Any:
    page = jobs.list_jobs(
        db,
        kind=query.kind,
        state=query.state,
        tag=query.tag,
        limit=check_limit(query.limit, settings),
        cursor=query.cursor,
    )
    items = [job_body(overview) for overview in page.items]
    body = JobPage(items=items, next_cursor=page.next_cursor)
    return Response(body.model_dump_json(), media_type=JSON_TYPE)


@router.get(
    "/{job_id:id}",
    response_model=JobBody,
    summary="Show a job, or wait for it",
    responses={
        **answer(200, examples.JOB),
        304: {"description": "It is as in If-None-Match."},
        **problem_responses(404, 422),
    },
    openapi_extra={"parameters": _WAIT_HEADERS},
)
async def get_job(job_id: JobId, request: Request, services: App) -> Any:
    viewer = grant_of(request.scope).viewer
    known = request.headers.get("if-none-match")
    wait = preferred_wait(request.headers.get("prefer"), services.settings.max_wait_seconds)
    headers: dict[str, str] = {}
    if wait is not None:
        await services.shown_jobs.require(viewer, job_id)
        await _wait_for(services, job_id, wait, known)
        headers["Preference-Applied"] = f"wait={wait}"
    shown = await services.shown_jobs.show(viewer, job_id, known)
    headers["ETag"] = shown.etag
    if shown.content is None:
        return Response(status_code=304, headers=headers)
    return Response(shown.content, headers=headers, media_type=JSON_TYPE)


async def _wait_for(services: App, job_id: str, seconds: int, known: str | None) -> None:
    """Waits until the job is another one than the client knows, or, if it knows none, has ended."""

    def is_done(version: int, state: State) -> bool:
        if known is None:
            return state in ENDED
        return not matches(job_etag(job_id, version), known)

    await services.watch.wait(job_id, seconds, is_done)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    response_model=JobBody,
    summary="Cancel a job",
    responses={**answer(202, examples.JOB), **problem_responses(404, 409, 422)},
)
def cancel_job(job_id: JobId, db: Db) -> Any:
    jobs.cancel(db, job_id)
    return _accepted(job_id, show(require_overview(db, job_id)))


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobBody,
    summary="Run again what did not succeed",
    responses={**answer(202, examples.JOB), **problem_responses(404, 409, 422)},
)
def retry_job(job_id: JobId, db: Db) -> Any:
    jobs.retry(db, job_id)
    return _accepted(job_id, show(require_overview(db, job_id)))


@router.delete(
    "/{job_id:id}",
    status_code=204,
    summary="Delete a job, its models and its files",
    responses={204: {"description": "Deleted."}, **problem_responses(404, 409, 422)},
)
def delete_job(job_id: JobId, db: Db, services: App) -> None:
    files = jobs.remove(db, job_id)
    services.roster.forget_job(job_id)
    services.catalogue.register.forget_job(job_id)
    try:
        services.collect(files)
    except (OSError, SQLAlchemyError) as error:  # the job is gone; what is left of it is swept up
        _log.warning("files of the deleted job %s are left to a later sweep: %s", job_id, error)


@router.get(
    "/{job_id}/results",
    summary="Show a job's tables, figures and comparisons",
    responses={**answer(200, examples.RESULTS), **problem_responses(404, 409, 422)},
)
def get_results(job_id: JobId, db: Db) -> ResultsBody:
    return require_results(db, job_id)


@router.get(
    "/{job_id}/manifest",
    summary="Show what a job's results were made from",
    responses={**answer(200, examples.MANIFEST), **problem_responses(404, 422)},
)
def get_manifest(job_id: JobId, db: Db) -> dict[str, Any]:
    return require_manifest(db, job_id)
