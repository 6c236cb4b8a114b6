"""Models, and predictions with them."""

from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request

from api import examples
from api.dependencies import App, ModelId
from api.json_body import JSON_TYPE, media_type, read_json, unsupported_media_type
from api.model_views import model_body, model_detail
from api.openapi import answer, predict_request_body, problem_responses
from api.paging import check_limit
from api.pointers import ErrorItem
from api.predict.pictures import Picture
from api.predict.predictor import decode, parse_request, predict_pictures, predict_request
from api.predict.uploads import FIELD, FORM_TYPE, stream_files
from api.problems import invalid
from api.queries import ModelQuery
from api.schemas import ModelDetail, ModelPage, Prediction, PredictionsBody
from fmx_ml.specs import IMAGE_SIDE
from fmx_store import models
from fmx_store.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"])

PIXEL_BYTES = 16  # of a pixel in JSON: three digits, a comma, and an indentation

_DETAIL = {**examples.MODEL, "description": {"format": "fmx-model", "num_classes": 5}}


@router.get(
    "",
    summary="List models, newest first",
    responses={**answer(200, examples.page(examples.MODEL)), **problem_responses(422)},
)
def get_models(services: App, query: Annotated[ModelQuery, Query()]) -> ModelPage:
    limit = check_limit(query.limit, services.settings)
    page = models.list_models(services.db, job_id=query.job, limit=limit, cursor=query.cursor)
    items = [model_body(services.catalogue, model) for model in page.items]
    return ModelPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/{model_id}",
    summary="Show a model",
    responses={**answer(200, _DETAIL), **problem_responses(404, 422)},
)
def get_model(model_id: ModelId, services: App) -> ModelDetail:
    return model_detail(services.catalogue, models.require_model(services.db, model_id))


@router.post(
    "/{model_id}/predict",
    response_model=PredictionsBody,
    response_model_exclude_unset=True,
    summary="Predict the classes of pictures",
    responses={**answer(200, examples.PREDICTIONS), **problem_responses(400, 404, 413, 415, 422)},
    openapi_extra=predict_request_body(),
)
async def predict(model_id: ModelId, request: Request, services: App) -> Any:
    model = await to_thread.run_sync(models.require_model, services.db, model_id)
    kind = media_type(request)
    if kind == JSON_TYPE:
        predictions = await _predict_json(model, request, services)
    elif kind == FORM_TYPE:
        predictions = await _predict_files(model, request, services)
    else:
        raise unsupported_media_type(request, JSON_TYPE, FORM_TYPE)
    return PredictionsBody(model=model.id, predictions=predictions)


async def _predict_json(model: Model, request: Request, services: App) -> list[Prediction]:
    settings = services.settings
    pixels = settings.max_pictures * IMAGE_SIDE * IMAGE_SIDE
    max_bytes = settings.max_body_bytes + pixels * PIXEL_BYTES
    value = await read_json(request, max_bytes, settings.max_json_depth)

    def work() -> list[Prediction]:
        asked = parse_request(value, settings.max_pictures)
        return predict_request(services.catalogue, model, asked)

    return await to_thread.run_sync(work, limiter=services.predict_limiter)


async def _predict_files(model: Model, request: Request, services: App) -> list[Prediction]:
    names: list[str] = []
    pictures: list[Picture] = []
    async with aclosing(stream_files(request, services.settings)) as uploads:
        async for upload in uploads:
            read = partial(decode, upload, len(names), services.settings)
            pictures.append(await to_thread.run_sync(read, limiter=services.predict_limiter))
            names.append(upload.name)
    if not names:
        raise invalid([ErrorItem(f"/{FIELD}", "missing", "no file was sent")])
    work = partial(predict_pictures, services.catalogue, model, names, pictures)
    return await to_thread.run_sync(work, limiter=services.predict_limiter)
