"""Aliases: names of models that are moved from one model to another."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import ValidationError

from api import examples
from api.dependencies import App, Db
from api.json_body import read_json
from api.openapi import answer, json_body, problem_responses
from api.paging import check_limit
from api.pointers import ErrorItem, describe_invalid
from api.problems import invalid
from api.queries import AliasRequest, PageQuery
from api.schemas import AliasBody, AliasPage
from fmx_store import aliases
from fmx_store.errors import NotFoundError
from fmx_store.tables import ModelAlias

MAX_BODY_BYTES = 4096  # a member with an id

router = APIRouter(prefix="/v1/models/aliases", tags=["models"])

AliasName = Annotated[
    str, Path(description="An alias: never like an id.", examples=[examples.ALIAS["name"]])
]


async def read_alias_request(request: Request) -> AliasRequest:
    """What an alias is to name. Raises ProblemError."""
    value: Any = await read_json(request, MAX_BODY_BYTES, max_depth=2)
    try:
        return AliasRequest.model_validate(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error


def _body(alias: ModelAlias) -> AliasBody:
    return AliasBody(name=alias.name, model=alias.model_id, updated_at=alias.updated_at)


@router.get(
    "",
    summary="List aliases by name",
    responses={**answer(200, examples.page(examples.ALIAS)), **problem_responses(422)},
)
def get_aliases(services: App, db: Db, query: Annotated[PageQuery, Query()]) -> AliasPage:
    limit = check_limit(query.limit, services.settings)
    page = aliases.list_aliases(db, limit=limit, cursor=query.cursor)
    return AliasPage(items=[_body(alias) for alias in page.items], next_cursor=page.next_cursor)


@router.get(
    "/{name}",
    summary="Show which model an alias names",
    responses={**answer(200, examples.ALIAS), **problem_responses(404, 409, 422)},
)
def get_alias(name: AliasName, db: Db) -> AliasBody:
    return _body(aliases.require_alias(db, name))


@router.put(
    "/{name}",
    summary="Let an alias, new or not, name a model",
    responses={
        **answer(200, examples.ALIAS),
        **problem_responses(400, 409, 413, 415, 422),
    },
    openapi_extra=json_body(AliasRequest, examples.ALIAS_REQUESTS),
)
def put_alias(
    name: AliasName,
    asked: Annotated[AliasRequest, Depends(read_alias_request)],
    services: App,
    db: Db,
) -> AliasBody:
    try:
        alias = aliases.promote(db, name, asked.model)
    except NotFoundError as error:
        raise invalid([ErrorItem("/model", "unknown_model", str(error))]) from error
    services.roster.forget_alias(name)
    return _body(alias)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Delete an alias; its model stays",
    responses={204: {"description": "Deleted."}, **problem_responses(404, 409, 422)},
)
def delete_alias(name: AliasName, services: App, db: Db) -> None:
    aliases.remove(db, name)
    services.roster.forget_alias(name)
