"""Artifacts: the files that a job leaves, one by one or in an archive."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api import examples
from api.dependencies import AppSettings, Blobs, Db, JobId
from api.files import archive_response, artifact_response
from api.openapi import ANY_TYPE, answer, file_answer, header, problem_responses
from api.paging import check_limit
from api.queries import ArchiveQuery, ArtifactQuery, PageQuery
from api.schemas import ArtifactPage
from api.views import artifact_body
from fmx_store import artifacts
from fmx_store.errors import NotFoundError

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["artifacts"])

_FILE_HEADERS = [
    header("Range", "One range of bytes.", "bytes=0-1023"),
    header("If-Range", "The range only if the file has this ETag.", examples.ETAG),
    header("If-None-Match", "The ETag of the file you have.", examples.ETAG),
]


@router.get(
    "/artifacts",
    summary="List a job's files by path",
    responses={**answer(200, examples.page(examples.ARTIFACT)), **problem_responses(404, 422)},
)
def get_artifacts(
    job_id: JobId, db: Db, settings: AppSettings, query: Annotated[PageQuery, Query()]
) -> ArtifactPage:
    limit = check_limit(query.limit, settings)
    page = artifacts.page_artifacts(db, job_id, limit=limit, cursor=query.cursor)
    items = [artifact_body(artifact, run_name) for artifact, run_name in page.items]
    return ArtifactPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/artifacts.zip",
    summary="Download a job's files as one archive",
    response_class=Response,
    responses={
        **file_answer(200, "The archive.", "application/zip"),
        **problem_responses(404, 422, 503),
    },
)
def get_archive(
    job_id: JobId, request: Request, db: Db, blobs: Blobs, query: Annotated[ArchiveQuery, Query()]
) -> Response:
    found = artifacts.list_artifacts(db, job_id)
    chosen = [artifact for artifact in found if artifact.path.startswith(query.prefix)]
    if query.prefix and not chosen:
        raise NotFoundError("artifact below", query.prefix)
    return archive_response(request, blobs, chosen, f"{job_id}.zip")


@router.get(
    "/artifacts/{path:path}",
    summary="Download a file, or a part of it",
    response_class=Response,
    responses={
        **file_answer(200, "The file; its type is the artifact's.", ANY_TYPE),
        **file_answer(206, "The range that was asked for.", ANY_TYPE),
        304: {"description": "The file is as in If-None-Match."},
        307: {"description": "The file, or its range, is at Location for five minutes."},
        **problem_responses(404, 416, 422, 503),
    },
    openapi_extra={"parameters": _FILE_HEADERS},
)
def get_artifact(
    job_id: JobId,
    path: Annotated[str, Path(description="The artifact's path.", examples=["seed-0/model.json"])],
    request: Request,
    db: Db,
    blobs: Blobs,
    query: Annotated[ArtifactQuery, Query()],
) -> Response:
    artifact = artifacts.require_artifact(db, job_id, path)
    return artifact_response(request, blobs, artifact, inline=query.inline)
