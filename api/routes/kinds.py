"""What can be asked for: the kinds of experiment, and what a request would become."""

from fastapi import APIRouter

from api import examples
from api.dependencies import AppSettings, Db, JobJson
from api.estimates import estimate
from api.kinds import describe_kind, list_kinds
from api.openapi import answer, job_request_body, problem_responses
from api.schemas import KindBody, KindList, PlannedRunBody, ValidationBody
from api.submissions import check_request
from fmx_ml.requests import spec_hash
from fmx_store.submissions import plan_runs

router = APIRouter(prefix="/v1", tags=["kinds"])

_KINDS = {
    "items": [
        {"kind": "q1", "title": examples.KIND["title"], "links": {"self": "/v1/kinds/q1"}},
    ]
}


@router.get(
    "/kinds",
    summary="List the kinds of experiment",
    responses={**answer(200, _KINDS), **problem_responses(422)},
)
async def get_kinds() -> KindList:
    return KindList(items=list_kinds())


@router.get(
    "/kinds/{kind}",
    summary="Show a kind: schema, defaults, presets, published figures",
    responses={**answer(200, examples.KIND), **problem_responses(404, 422)},
)
async def get_kind(kind: str) -> KindBody:
    return describe_kind(kind)


@router.post(
    "/jobs/validate",
    summary="Check a request without submitting it",
    responses={**answer(200, examples.VALIDATION), **problem_responses(400, 413, 415, 422)},
    openapi_extra=job_request_body(),
)
def validate_job(value: JobJson, db: Db, settings: AppSettings) -> ValidationBody:
    request = check_request(value, settings)
    planned = plan_runs(db, request, settings.max_runs_per_job)
    return ValidationBody(
        kind=request.kind,
        preset=request.preset,
        spec=request.spec.model_dump(mode="json"),
        spec_hash=spec_hash(request.kind, request.spec),
        runs=[
            PlannedRunBody(
                name=run.name,
                params=run.training.model_dump(mode="json"),
                max_epochs=run.max_epochs,
                needs=list(run.needs),
                taken_from=run.taken_from,
            )
            for run in planned
        ],
        estimate=estimate(db, request, planned),
    )
