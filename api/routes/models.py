"""Models, and what they make of pictures: predictions and feature maps."""

from functools import partial
from typing import Annotated

import orjson
from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from api import examples
from api.dependencies import App, Db, ModelId
from api.json_body import JSON_TYPE
from api.model_views import model_body, model_detail
from api.openapi import answer, predict_request_body, problem_responses
from api.paging import check_limit
from api.predict.feature_maps import choose_layers, render_maps
from api.predict.intake import receive_pictures
from api.predict.predictor import predict_pictures
from api.predict.schemas import FeatureMapsBody, PredictionsBody
from api.predict.sheets import PNG_TYPE
from api.queries import FeatureMapQuery, ModelQuery
from api.schemas import ModelDetail, ModelPage
from fmx_store import models

PREFIX = "/v1/models"
PREDICT_PATH = f"{PREFIX}/{{model_id}}/predict"

router = APIRouter(prefix=PREFIX, tags=["models"])

_DETAIL = {**examples.MODEL, "description": {"format": "fmx-model", "num_classes": 5}}
_MAPS_ANSWER = answer(
    200, examples.FEATURE_MAPS, description="The maps; as PNG, those of one picture on a sheet."
)
_MAPS_ANSWER[200]["content"][PNG_TYPE] = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "",
    summary="List models, newest first",
    responses={**answer(200, examples.page(examples.MODEL)), **problem_responses(422)},
)
def get_models(services: App, db: Db, query: Annotated[ModelQuery, Query()]) -> ModelPage:
    limit = check_limit(query.limit, services.settings)
    page = models.list_models(db, job_id=query.job, limit=limit, cursor=query.cursor)
    items = [model_body(services.catalogue, model) for model in page.items]
    return ModelPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/{model_id}",
    summary="Show a model",
    responses={**answer(200, _DETAIL), **problem_responses(404, 409, 422)},
)
def get_model(model_id: ModelId, services: App, db: Db) -> ModelDetail:
    return model_detail(services.catalogue, models.require_model(db, model_id))


@router.post(
    PREDICT_PATH.removeprefix(PREFIX),
    response_model=PredictionsBody,
    summary="Predict the classes of pictures",
    responses={
        **answer(200, examples.PREDICTIONS),
        **problem_responses(400, 404, 409, 413, 415, 422),
    },
    openapi_extra=predict_request_body(),
)
async def predict(model_id: ModelId, request: Request, services: App, db: Db) -> Response:
    loaded = await services.roster.require(db, model_id)
    max_pictures = services.settings.max_pictures
    batch = await receive_pictures(request, services, loaded.model, max_pictures)
    predictions = await predict_pictures(loaded, batch)
    body = {"model": loaded.model.id, "predictions": predictions}
    return Response(orjson.dumps(body), media_type=JSON_TYPE)


@router.post(
    "/{model_id}/feature-maps",
    response_model=FeatureMapsBody,
    summary="Show what the convolutions make of pictures",
    responses={**_MAPS_ANSWER, **problem_responses(400, 404, 406, 409, 413, 415, 422)},
    openapi_extra=predict_request_body(),
)
async def make_feature_maps(
    model_id: ModelId,
    request: Request,
    services: App,
    db: Db,
    query: Annotated[FeatureMapQuery, Query()],
) -> Response:
    loaded = await services.roster.require(db, model_id)
    layers = choose_layers(loaded.card, query.layers)
    max_pictures = services.settings.max_feature_map_pictures
    batch = await receive_pictures(request, services, loaded.model, max_pictures)
    work = partial(render_maps, loaded, layers, batch, query, request.headers.get("accept"))
    made = await to_thread.run_sync(work, limiter=services.predict_limiter)
    return Response(made.content, headers={"Vary": "Accept"}, media_type=made.media_type)
