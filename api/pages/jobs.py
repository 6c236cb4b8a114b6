"""The list of jobs: filters, pages, and the rows that are looked at again every two seconds."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import model_validator

from api.conditional import matches
from api.dependencies import App, AppSettings, Db
from api.kinds import list_kinds
from api.pages.rendering import HEADERS, HTML_TYPE, render, render_page
from api.paging import check_limit
from api.queries import JobQuery
from api.services import Services
from api.views import job_body
from fmx_store import jobs
from fmx_store.settings import Settings
from fmx_store.states import State
from fmx_store.viewers import View

router = APIRouter(include_in_schema=False)

_STATES = (State.RUNNING, State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED)


class FilterQuery(JobQuery):
    """Which jobs; a form sends the filters that are left empty too."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_blanks(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value != ""}


Asked = Annotated[FilterQuery, Query()]


@router.get("/jobs")
def show_jobs(request: Request, db: Db, settings: AppSettings, query: Asked) -> Response:
    shown = _read_page(db, settings, query)
    kinds = list_kinds()
    return render_page(request, "jobs.html", kinds=kinds, states=_STATES, **shown)


@router.get("/jobs/rows")
def show_job_rows(request: Request, db: Db, services: App, query: Asked) -> Response:
    """The rows alone; however many look at the same list, it is read once a second at most."""
    key = (db.viewer, query)
    text = services.glimpses.get(key, lambda: _render_rows(db, services, query))
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": etag}
    if matches(etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(text, headers=headers, media_type=HTML_TYPE)


def _render_rows(db: View, services: Services, query: JobQuery) -> str:
    return render("parts/job_rows.html", **_read_page(db, services.settings, query))


def _read_page(db: View, settings: Settings, query: JobQuery) -> dict[str, Any]:
    """What the list shows: its filters, the jobs of this page, and what leads to the next."""
    page = jobs.list_jobs(
        db,
        kind=query.kind,
        state=query.state,
        tag=query.tag,
        limit=check_limit(query.limit, settings),
        cursor=query.cursor,
    )
    return {
        "asked": query.model_dump(mode="json"),
        "jobs": [job_body(overview) for overview in page.items],
        "next_cursor": page.next_cursor,
    }
