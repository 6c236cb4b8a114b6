"""What Prometheus reads."""

from fastapi import APIRouter, Request, Response

from api.dependencies import App, Db
from api.openapi import answer, problem_responses
from api.permissions import METRICS_PATH

router = APIRouter(tags=["health"])

_EXAMPLE = """# HELP fmx_jobs Jobs by state.
# TYPE fmx_jobs gauge
fmx_jobs{state="succeeded"} 12.0
"""


@router.get(
    METRICS_PATH,
    summary="Tell Prometheus how the server and the record stand",
    description="Requests, predictions, and, counted every few seconds at most, what is in the "
    "record, as far as the key's owner sees it.",
    response_class=Response,
    responses={**answer(200, _EXAMPLE, media_type="text/plain"), **problem_responses(422)},
)
async def get_metrics_text(request: Request, services: App, db: Db) -> Response:
    from api.observed.exposition import Observed, expose  # noqa: PLC0415 - for who is watched only

    observed = Observed(
        version=request.app.version,
        traffic=services.traffic,
        statistics=services.catalogue.register.all_seen_by(db.viewer),
        num_loaded=len(services.roster.loaded_ids()),
        figures=await services.standing.figures(db.viewer),
    )
    content, media_type = expose(observed, request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})
