"""Reports: the results of several jobs as one document."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api import examples
from api.conditional import matches
from api.dependencies import App, Db
from api.openapi import file_answer, header, problem_responses
from api.queries import ReportQuery
from api.reports import MEDIA_TYPES, Format, choose_jobs, render_report, tag_report

router = APIRouter(prefix="/v1/reports", tags=["reports"])

# The page brings its style and pictures along, and no script.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


@router.get(
    "/report.{form}",
    summary="Read the results of several jobs as one report",
    response_class=Response,
    responses={
        **file_answer(200, "The report; its type by its suffix.", *MEDIA_TYPES.values()),
        304: {"description": "The report is as in If-None-Match."},
        **problem_responses(404, 409, 422),
    },
    openapi_extra={"parameters": [header("If-None-Match", "The ETag you have.", examples.ETAG)]},
)
def get_report(
    form: Annotated[Format, Path(description="html, pdf or md.", examples=["html"])],
    request: Request,
    db: Db,
    services: App,
    query: Annotated[ReportQuery, Query()],
) -> Response:
    chosen = choose_jobs(db, query.jobs)
    etag = tag_report(chosen, form)
    headers = {
        "ETag": etag,
        "Content-Security-Policy": _POLICY,
        "Content-Disposition": f'inline; filename="report.{form}"',
    }
    if matches(etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    content = services.reports.get(etag, lambda: render_report(db, services.blobs, chosen, form))
    return Response(content, 200, headers, MEDIA_TYPES[form])
