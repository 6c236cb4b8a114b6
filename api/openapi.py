"""The OpenAPI document: what FastAPI can't see by itself, because bodies are parsed here."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api import examples, problems
from api.inference.repository_schemas import IndexRequest, LoadRequest
from api.inference.schemas import InferRequest
from api.json_body import JSON_TYPE
from api.links import add_links
from api.permissions import OPEN_PATHS, permission_of
from api.predict.uploads import FIELD, FORM_TYPE, PICTURE_TYPES
from api.queries import AliasRequest, PredictRequest
from api.schemas import ProblemBody
from fmx_ml.requests import REQUESTS

Responses = dict[int | str, dict[str, Any]]

ANY_TYPE = "*/*"

_TEXT = {"type": "string"}

_REF = "#/components/schemas/{model}"
_ANY_PATH = (500, 503)  # what each path can answer
_OF_KEYS = (401, 403, 429)  # and where keys are needed

_PARSED_HERE = (PredictRequest, AliasRequest, InferRequest, IndexRequest, LoadRequest)

KEY_SCHEME = "key"
_KEYS = (
    "A key, as `fmx admin keys create` makes it. Needed unless the server is this machine's own."
)

# FastAPI leaves out every member of a document that is null. Examples of answers have such members,
# so their names go in and they are put in their places afterwards.
_shelf: dict[str, Any] = {}

DESCRIPTION = """Deep-learning experiments over HTTP: post a spec, watch it train, read its results
beside the published ones, and predict with what was trained.

A **job** is a submitted spec, a **run** one training in it, a **model** what a run leaves. Every
error is a problem body (RFC 9457) whose `errors` point to the places in the request."""

_HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "Bearer."},
    429: {"Retry-After": "Seconds."},
    507: {"Retry-After": "Seconds."},
    503: {"Retry-After": "Seconds."},
}


def problem_responses(*statuses: int) -> Responses:
    """The declaration of the problems that a path can answer, for its decorator."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                problems.MEDIA_TYPE: {
                    "schema": {"$ref": _REF.format(model=ProblemBody.__name__)},
                    "example": _problem_example(status),
                }
            },
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in _HEADERS.get(status, {}).items()
            },
        }
        for status in sorted({*statuses, *_ANY_PATH})
    }


def _problem_example(status: int) -> dict[str, Any]:
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return examples.PROBLEM
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_")
    changed = {"title": phrase, "status": status, "detail": phrase, "code": code, "errors": []}
    return {**examples.PROBLEM, **changed}


def answer(
    status: int, example: Any, *, media_type: str = JSON_TYPE, description: str = "The answer."
) -> Responses:
    """The declaration of an answer with its example."""
    name = f"example {len(_shelf)}"
    _shelf[name] = example
    return {status: {"description": description, "content": {media_type: {"example": name}}}}


def file_answer(status: int, description: str, *media_types: str) -> Responses:
    """The declaration of an answer that is a file of one of some types."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    # A file of any type may be JSON, which is no string.
    content = {kind: {} if kind == ANY_TYPE else schema for kind in media_types}
    return {status: {"description": description, "content": content}}


def job_request_body() -> dict[str, Any]:
    """The request body of a submission, for openapi_extra."""
    models = [request.__name__ for request in REQUESTS.values()]
    schemas = [{"$ref": _REF.format(model=name)} for name in models]
    mapping = {kind: _REF.format(model=request.__name__) for kind, request in REQUESTS.items()}
    schema = {"oneOf": schemas, "discriminator": {"propertyName": "kind", "mapping": mapping}}
    content = {JSON_TYPE: {"schema": schema, "examples": examples.JOB_REQUESTS}}
    return {"requestBody": {"required": True, "content": content}}


def model_request_body(model: type[BaseModel], example: Any) -> dict[str, Any]:
    """The request body of a value that a route reads by itself, for openapi_extra."""
    examples_of_it = {"usual": {"summary": "As a client asks", "value": example}}
    schema = model.model_json_schema(ref_template=_REF)
    content = {JSON_TYPE: {"schema": schema, "examples": examples_of_it}}
    return {"requestBody": {"required": True, "content": content}}


def predict_request_body() -> dict[str, Any]:
    """The request body of a prediction, for openapi_extra."""
    form = {
        "type": "object",
        "required": [FIELD],
        "additionalProperties": False,
        "properties": {
            FIELD: {
                "type": "array",
                "minItems": 1,
                # The format is what generators of clients know files by.
                "items": {
                    "type": "string",
                    "format": "binary",
                    "contentMediaType": "application/octet-stream",
                },
                "description": "PNG, JPEG, WebP or BMP, of any size.",
            }
        },
    }
    content = {
        JSON_TYPE: {
            "schema": {"$ref": _REF.format(model=PredictRequest.__name__)},
            "examples": examples.PREDICT_REQUESTS,
        },
        FORM_TYPE: {"schema": form, "encoding": {FIELD: {"contentType": ", ".join(PICTURE_TYPES)}}},
    }
    return {"requestBody": {"required": True, "content": content}}


def json_body(
    model: type[BaseModel], shown: Mapping[str, Mapping[str, Any]], *, required: bool = True
) -> dict[str, Any]:
    """The body of a request that is one JSON value, for openapi_extra."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    content = {JSON_TYPE: {"schema": schema, "examples": dict(shown)}}
    return {"requestBody": {"required": required, "content": content}}


def header(
    name: str, description: str, example: Any, schema: Mapping[str, Any] = _TEXT
) -> dict[str, Any]:
    """The declaration of a request header, for openapi_extra."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": dict(schema),
        "example": example,
    }


def install(app: FastAPI, max_page: int, *, needs_keys: bool) -> None:
    """Makes the app's document complete. A page has `max_page` items at most."""

    def make() -> dict[str, Any]:
        document = app.openapi_schema
        if document is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for model in (ProblemBody, *_PARSED_HERE, *REQUESTS.values()):
                _add_schema(schemas, model)
            _show_object_defaults(schemas)
            _declare_keys(document, needs_keys=needs_keys)
            add_links(document)
            for parameter in _list_parameters(document):
                _tidy(parameter, max_page)
            document = app.openapi_schema = _unshelve(document)
        return document

    app.openapi = make


def _show_object_defaults(value: Any) -> None:
    """Makes an example of each object that is the default of what may be null too.

    Generators of clients know only null as its default, and leave out all that has another.
    """
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            _show_object_defaults(item)
    elif isinstance(value, dict):
        schema = cast("dict[str, Any]", value)
        if "anyOf" in schema and isinstance(schema.get("default"), dict):
            schema["examples"] = [schema.pop("default")]
        for item in schema.values():
            _show_object_defaults(item)


def _declare_keys(document: dict[str, Any], *, needs_keys: bool) -> None:
    """Says of each operation which scope of a key it needs; none where keys are off."""
    scheme = {"type": "http", "scheme": "bearer", "description": _KEYS}
    document["components"]["securitySchemes"] = {KEY_SCHEME: scheme}
    for path, item in document["paths"].items():
        for operation in item.values():
            scope = permission_of(operation["operationId"]).scope
            scopes = [] if scope is None else [str(scope)]
            is_open = [{}] if path in OPEN_PATHS or not needs_keys else []
            operation["security"] = [{KEY_SCHEME: scopes}, *is_open]
            operation["responses"] |= {str(k): v for k, v in problem_responses(*_OF_KEYS).items()}


def _list_parameters(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        for operation in item.values():
            yield from operation.get("parameters", ())


def _tidy(parameter: dict[str, Any], max_page: int) -> None:
    """Says that a parameter can be left out, not be null, and how long a page may be here."""
    schema = parameter["schema"]
    if "anyOf" in schema:
        (given, _null) = schema.pop("anyOf")
        schema.update(given)
    if parameter["name"] == "limit":
        schema["maximum"] = max_page


def _unshelve(value: Any) -> Any:
    """The value with every example in its place."""
    if isinstance(value, list):
        return [_unshelve(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    return {
        key: _shelf[item]
        if key == "example" and isinstance(item, str) and item in _shelf
        else _unshelve(item)
        for key, item in cast("dict[str, Any]", value).items()
    }


def _add_schema(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=_REF)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
