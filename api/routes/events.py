"""What happens to a job and what its runs print, as it comes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api import examples
from api.conditional import prefers_lines
from api.dependencies import App, Db, JobId
from api.envelope import HEAD_KEY
from api.openapi import header, problem_responses
from api.pointers import ErrorItem
from api.problems import invalid
from api.queries import EventQuery, LogQuery
from api.streams import HEADERS, Place, Streamed, owner_of
from api.streams_of_events import EVENT_TYPE, LINES, LINES_TYPE, SERVER_SENT, Story
from api.streams_of_logs import LOG_TYPE, LogStream
from fmx_store.errors import CursorError
from fmx_store.events import Cursor

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

_TEXT = {"type": "string"}
_EVENTS = {
    "description": "The events so far and those to come: `job`, `run`, `epochs`, `artifacts`, "
    "`rewound`, and `end` when the job has ended.",
    "content": {
        EVENT_TYPE: {"example": examples.EVENTS},  # a schema would be that of each event
        LINES_TYPE: {"schema": _TEXT, "example": examples.EVENT_LINES},
    },
}
_LOG = {
    "description": "Lines with their time, run and attempt.",
    "content": {LOG_TYPE: {"schema": _TEXT, "example": examples.LOG}},
}
_LAST = header("Last-Event-ID", "The id of the last event that came.", "17")


@router.get(
    "/events",
    summary="Follow what happens to a job",
    response_class=Response,
    responses={
        200: _EVENTS,
        204: {"description": "The job has ended, and that was told."},
        **problem_responses(404, 422, 429),
    },
    openapi_extra={"parameters": [_LAST]},
)
async def get_events(
    job_id: JobId, request: Request, app: App, db: Db, query: Annotated[EventQuery, Query()]
) -> Response:
    """Each event has an id; after it the story goes on exactly, nothing lost and nothing repeated.

    What a `rewound` says is void is told again when it has been trained again. Epochs that have
    gathered come together.
    """
    story = Story(request, app, db, job_id)
    last = request.headers.get("last-event-id")
    asked = last or query.after or "0"
    try:
        cursor = Cursor.parse(asked)
        window = await story.read(cursor)
    except CursorError as error:
        where = "Last-Event-ID" if last else "?after"
        raise invalid([ErrorItem(where, error.code, "no event had this id")]) from error
    if cursor.has_ended and window.is_over and not window.events:
        return Response(status_code=204, headers=HEADERS)
    form = LINES if prefers_lines(request.headers.get("accept")) else SERVER_SENT
    if request.scope.get(HEAD_KEY, False):
        return Response(headers=HEADERS, media_type=form.media_type)
    place = Place(app.places, owner_of(request))
    return Streamed(place, story.tell(window, form), form.media_type)


@router.get(
    "/logs",
    summary="Read what a job's runs print",
    response_class=Response,
    responses={200: _LOG, **problem_responses(404, 422, 429)},
)
async def get_logs(
    job_id: JobId, request: Request, app: App, db: Db, query: Annotated[LogQuery, Query()]
) -> Response:
    """The end of each run's log, while it is trained and afterwards; of all its attempts.

    The whole log of a run that has ended is among its files.
    """
    stream = LogStream(app, db, job_id, query.run)
    if query.tail is None:
        content = stream.tell(await stream.read(0), follow=query.follow)
    else:
        page = await stream.read_tail(query.tail)
        content = stream.tell_tail(page, query.tail, follow=query.follow)
    if request.scope.get(HEAD_KEY, False):
        return Response(headers=HEADERS, media_type=LOG_TYPE)
    place = Place(app.places, owner_of(request))
    return Streamed(place, content, LOG_TYPE)
