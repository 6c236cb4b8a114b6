"""The Open Inference Protocol, which other servers' clients speak: /v2."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from api.dependencies import App, Db, ModelId, refuse_version
from api.inference import examples
from api.inference.answers import (
    BINARY_TYPE,
    HEADER_LENGTH,
    Encoded,
    encode_answer,
    refuse_outputs,
)
from api.inference.compression import choose_coding, compress, content_coding, decompress
from api.inference.describing import (
    EXTENSIONS,
    describe_config,
    describe_statistics,
    describe_tensors,
)
from api.inference.repository_schemas import StatisticsBody
from api.inference.schemas import (
    InferRequest,
    InferResponse,
    Liveness,
    ModelConfig,
    ModelMetadata,
    ModelReadiness,
    ServerMetadata,
    ServerReadiness,
)
from api.inference.tensors import Parsed, bad_length, parse_infer
from api.json_body import JSON_TYPE, read_body
from api.openapi import answer, header, problem_responses
from api.predict.intake import BRIEF_BYTES, PIXEL_BYTES
from api.problems import refuse
from api.readiness import look
from api.routes import repository
from api.services import Services
from fmx_ml.specs import IMAGE_SIDE

TAG = "open inference protocol"
MODEL_PATH = "/v2/models/{model_id}"
INFER_PATH = f"{MODEL_PATH}/infer"

server_router = APIRouter(prefix="/v2", tags=[TAG])
model_router = APIRouter(tags=[TAG])

_INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON_TYPE: {
                "schema": {"$ref": f"#/components/schemas/{InferRequest.__name__}"},
                "examples": examples.REQUESTS,
            },
            BINARY_TYPE: {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        header(
            HEADER_LENGTH,
            "Bytes of JSON, where bytes of tensors follow.",
            166,
            {"type": "integer", "minimum": 0},
        )
    ],
}


_INFER_ANSWER = answer(
    200, examples.RESPONSE, description="The outputs; bytes of tensors follow if so wished."
)
_INFER_ANSWER[200]["content"][BINARY_TYPE] = {"schema": {"type": "string", "format": "binary"}}


def install(app: FastAPI) -> None:
    """Puts the protocol's paths into the app; each of a model's stands there with a version too."""
    app.include_router(server_router)
    app.include_router(repository.router)
    app.include_router(model_router, prefix=MODEL_PATH)
    app.include_router(
        model_router,
        prefix=f"{MODEL_PATH}/versions/{{version}}",
        dependencies=[Depends(refuse_version)],
        include_in_schema=False,
    )
    app.include_router(repository.unserved_router)


@server_router.get(
    "",
    summary="Tell who answers",
    responses={**answer(200, examples.SERVER), **problem_responses(422)},
)
async def get_server(request: Request) -> ServerMetadata:
    version = request.app.version
    return ServerMetadata(name="fmx", version=version, extensions=EXTENSIONS)


@server_router.get(
    "/health/live",
    summary="Tell that the server lives",
    responses={**answer(200, {"live": True}), **problem_responses(422)},
)
async def get_liveness() -> Liveness:
    return Liveness(live=True)


@server_router.get(
    "/health/ready",
    summary="Tell that the server can predict",
    responses={**answer(200, {"ready": True}), **problem_responses(422)},
)
async def get_server_readiness(services: App) -> ServerReadiness:
    if (await look(services)).status == "unavailable":
        raise refuse(503, "unavailable", "the record can't be read or files not stored")
    return ServerReadiness(ready=True)


@model_router.get(
    "",
    summary="Tell what a model takes and gives",
    responses={**answer(200, examples.MODEL), **problem_responses(404, 409, 422)},
)
async def get_tensors(model_id: ModelId, services: App, db: Db) -> ModelMetadata:
    return describe_tensors(await services.roster.require(db, model_id))


@model_router.get(
    "/config",
    summary="Tell how a model is served",
    responses={**answer(200, examples.CONFIG), **problem_responses(404, 409, 422)},
    response_model_exclude_none=True,
)
async def get_config(model_id: ModelId, services: App, db: Db) -> ModelConfig:
    loaded = await services.roster.require(db, model_id)
    return describe_config(loaded, services.settings.max_infer_pictures)


@model_router.get(
    "/ready",
    summary="Tell that a model can predict",
    responses={
        **answer(200, {"name": examples.MODEL["name"], "ready": True}),
        **problem_responses(404, 409, 422),
    },
)
async def get_model_readiness(model_id: ModelId, services: App, db: Db) -> ModelReadiness:
    loaded = await services.roster.require(db, model_id)
    return ModelReadiness(name=loaded.model.id, ready=True)


@model_router.get(
    "/stats",
    summary="Tell what a model was asked",
    responses={**answer(200, examples.STATISTICS), **problem_responses(404, 409, 422)},
)
async def get_model_statistics(model_id: ModelId, services: App, db: Db) -> StatisticsBody:
    loaded = await services.roster.require(db, model_id)
    return StatisticsBody(model_stats=[describe_statistics(loaded.statistics)])


@model_router.post(
    "/infer",
    response_model=InferResponse,
    summary="Predict from tensors",
    responses={**_INFER_ANSWER, **problem_responses(400, 404, 409, 413, 415, 422)},
    openapi_extra=_INFER_BODY,
)
async def infer(model_id: ModelId, request: Request, services: App, db: Db) -> Response:
    loaded = await services.roster.require(db, model_id)
    parsed = await _receive(request, services)
    probabilities_NK = await loaded.predict(parsed.images_NHW)
    encoded = encode_answer(loaded.model.id, loaded.card, parsed.request, probabilities_NK)
    return _respond(request, encoded)


async def _receive(request: Request, services: Services) -> Parsed:
    settings = services.settings
    coding, header_bytes = content_coding(request), _header_bytes(request)
    pixels = settings.max_infer_pictures * IMAGE_SIDE * IMAGE_SIDE
    max_bytes = settings.max_body_bytes + pixels * PIXEL_BYTES
    body = await read_body(request, max_bytes)

    def parse() -> Parsed:
        content = body if coding is None else decompress(body, coding, max_bytes)
        limits = (settings.max_json_depth, settings.max_infer_pictures)
        parsed = parse_infer(content, header_bytes, *limits)
        refuse_outputs(parsed.request)
        return parsed

    num_json_bytes = len(body) if header_bytes is None else header_bytes
    if coding is None and num_json_bytes <= BRIEF_BYTES:
        return parse()
    return await to_thread.run_sync(parse, limiter=services.predict_limiter)


def _header_bytes(request: Request) -> int | None:
    """How much of the body is JSON, None for all of it. Raises ProblemError (400)."""
    given = request.headers.get(HEADER_LENGTH)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 20):  # noqa: PLR2004 - int64
        raise bad_length(f"{HEADER_LENGTH} is no number of bytes")
    return int(given)


def _respond(request: Request, encoded: Encoded) -> Response:
    headers: dict[str, Any] = {**encoded.headers, "Vary": "Accept-Encoding"}
    coding = choose_coding(request.headers, len(encoded.content))
    if coding is None:
        return Response(encoded.content, headers=headers)
    headers["Content-Encoding"] = coding
    return Response(compress(encoded.content, coding), headers=headers)
