"""The Open Inference Protocol's repository of models: which there are, load, unload, statistics.

Models come and go with their jobs, and each is loaded by its first request. To load one spares that
request the wait; to unload one makes room in memory until somebody asks for it again.
"""

from typing import TypeVar

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from api.dependencies import App, Db, ModelId
from api.inference import examples
from api.inference.answers import VERSION
from api.inference.describing import EXTENSIONS, describe_statistics
from api.inference.repository_schemas import (
    IndexItem,
    IndexRequest,
    LoadRequest,
    RepositoryIndex,
    StatisticsBody,
)
from api.json_body import parse_json, read_body
from api.openapi import answer, json_body, problem_responses
from api.pointers import ErrorItem, describe_invalid, join_pointer
from api.problems import invalid, refuse
from fmx_store import aliases, models
from fmx_store.viewers import View

TAG = "open inference protocol"
INDEX_MODELS = 1000  # the newest; an index has no pages
MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 8

_TAKEN = frozenset({"unload_dependents"})  # of a load's or unload's parameters

M = TypeVar("M", bound=BaseModel)

router = APIRouter(prefix="/v2", tags=[TAG])
unserved_router = APIRouter(prefix="/v2", include_in_schema=False)


async def _read(request: Request, kind: type[M]) -> M:
    """The request's body, which may be left out and need not say its type."""
    body = await read_body(request, MAX_BODY_BYTES)
    value = parse_json(body, MAX_DEPTH) if body else {}
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error


async def _read_load(request: Request) -> None:
    """Raises ProblemError where a model is to be loaded in another way than it is."""
    asked = await _read(request, LoadRequest)
    for name in asked.parameters.keys() - _TAKEN:
        place = join_pointer(["parameters", name])
        detail = "a model is served as its run left it: nothing of it can be changed here"
        raise invalid([ErrorItem(place, "unsupported", detail)])


@router.post(
    "/repository/index",
    summary="Tell which models there are",
    responses={**answer(200, examples.INDEX), **problem_responses(400, 413, 422)},
    openapi_extra=json_body(IndexRequest, examples.INDEX_REQUESTS, required=False),
)
async def get_repository_index(request: Request, services: App, db: Db) -> RepositoryIndex:
    asked = await _read(request, IndexRequest)
    return await to_thread.run_sync(_index, db, services.roster.loaded_ids(), asked)


def _index(view: View, loaded: set[str], asked: IndexRequest) -> RepositoryIndex:
    ids = [model.id for model in models.list_models(view, limit=INDEX_MODELS).items]
    named = aliases.list_aliases(view, limit=aliases.MAX_ALIASES).items
    pairs = [*((alias.name, alias.model_id) for alias in named), *zip(ids, ids, strict=True)]
    items = [_item(name, is_ready=model_id in loaded) for name, model_id in pairs]
    return RepositoryIndex([item for item in items if item.state == "READY" or not asked.ready])


def _item(name: str, *, is_ready: bool) -> IndexItem:
    if is_ready:
        return IndexItem(name=name, version=VERSION, state="READY", reason="")
    reason = "not in memory: a request loads it"
    return IndexItem(name=name, version=VERSION, state="UNAVAILABLE", reason=reason)


_NO_BODY = {200: {"description": "Done."}}


@router.post(
    "/repository/models/{model_id}/load",
    summary="Load a model into memory",
    responses={**_NO_BODY, **problem_responses(400, 404, 409, 413, 422)},
    openapi_extra=json_body(LoadRequest, examples.LOAD_REQUESTS, required=False),
    response_class=Response,
)
async def load_model(model_id: ModelId, request: Request, services: App, db: Db) -> Response:
    await _read_load(request)
    await services.roster.require(db, model_id)
    return Response()


@router.post(
    "/repository/models/{model_id}/unload",
    summary="Take a model out of memory until it is asked again",
    responses={**_NO_BODY, **problem_responses(400, 404, 409, 413, 422)},
    openapi_extra=json_body(LoadRequest, examples.LOAD_REQUESTS, required=False),
    response_class=Response,
)
async def unload_model(model_id: ModelId, request: Request, services: App, db: Db) -> Response:
    await _read_load(request)
    model = await to_thread.run_sync(models.require_model, db, model_id)
    services.roster.forget_model(model.id)
    await to_thread.run_sync(services.catalogue.unload, model)
    return Response()


@router.get(
    "/models/stats",
    summary="Tell what the models were asked",
    responses={**answer(200, examples.STATISTICS), **problem_responses(422)},
)
async def get_statistics(services: App, db: Db) -> StatisticsBody:
    seen = services.catalogue.register.seen_by(db.viewer)
    return StatisticsBody(model_stats=[describe_statistics(statistics) for statistics in seen])


@unserved_router.api_route("/logging", methods=["GET", "POST"])
@unserved_router.api_route("/trace/setting", methods=["GET", "POST"])
@unserved_router.api_route("/models/{model_id}/trace/setting", methods=["GET", "POST"])
@unserved_router.api_route("/{extension}sharedmemory/{rest:path}", methods=["GET", "POST"])
async def refuse_extension() -> None:
    """Says that an extension of Triton's is none of this server's."""
    detail = f"this extension is not served; the server has {', '.join(EXTENSIONS)}"
    raise refuse(404, "not_served", detail)
