"""Whether the process lives, and whether it can do its work."""

from fastapi import APIRouter, Request, Response

from api import examples
from api.dependencies import App
from api.openapi import answer, problem_responses
from api.permissions import STRANGER, grant_of
from api.readiness import look
from api.schemas import Health, Readiness

router = APIRouter(tags=["health"])

_UNAVAILABLE = {**examples.READINESS, "status": "unavailable"}


@router.get(
    "/healthz",
    summary="Tell that the process lives",
    responses={**answer(200, {"status": "ok"}), **problem_responses(422)},
)
async def get_health() -> Health:
    return Health()


@router.get(
    "/readyz",
    summary="Tell whether what the server depends on works",
    responses={
        **problem_responses(422),
        **answer(200, examples.READINESS),
        **answer(503, _UNAVAILABLE, description="The record can't be read or files not stored."),
    },
)
async def get_readiness(services: App, request: Request, response: Response) -> Readiness:
    is_stranger = grant_of(request.scope) is STRANGER
    readiness = await (services.glances.look(services) if is_stranger else look(services))
    if readiness.status == "unavailable":
        response.status_code = 503
    return readiness
