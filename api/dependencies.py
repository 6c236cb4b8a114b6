"""What routes ask for, as named types."""

import functools
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, cast, get_args

from fastapi import Depends, Path, Request
from starlette.convertors import StringConvertor, register_url_convertor

from api import examples
from api.inference.answers import VERSION
from api.json_body import read_json
from api.permissions import grant_of
from api.pointers import ErrorItem
from api.problems import invalid
from api.queries import Query
from api.services import Services
from fmx_store.blobs import BlobStore
from fmx_store.errors import NotFoundError
from fmx_store.ids import ID_LENGTH
from fmx_store.log_format import note_ids
from fmx_store.settings import Settings
from fmx_store.viewers import View


async def get_services(request: Request) -> Services:
    return request.app.state.services


async def get_app_settings(request: Request) -> Settings:
    return request.app.state.services.settings


async def get_view(request: Request) -> View:
    services: Services = request.app.state.services
    return services.view(grant_of(request.scope).viewer)


async def get_blobs(request: Request) -> BlobStore:
    return request.app.state.services.blobs


App = Annotated[Services, Depends(get_services)]
AppSettings = Annotated[Settings, Depends(get_app_settings)]
Db = Annotated[View, Depends(get_view)]
"""The record, as far as whoever asks may see it."""
Blobs = Annotated[BlobStore, Depends(get_blobs)]


async def _job_json(request: Request) -> Any:
    settings = request.app.state.services.settings
    return await read_json(request, settings.max_body_bytes, settings.max_json_depth)


JobJson = Annotated[Any, Depends(_job_json)]


class _IdConvertor(StringConvertor):
    """Of a path that has siblings with names: what has not the form of an id is none of its own."""

    regex = f"[0-9A-Za-z]{{{ID_LENGTH}}}"


register_url_convertor("id", _IdConvertor())

# The record answers that there is no such thing to whatever has not the form of an id.
JobId = Annotated[str, Path(description="A job's id.", examples=[examples.JOB_ID])]
RunId = Annotated[str, Path(description="A run's id.", examples=[examples.RUN_ID])]
DatasetPath = Annotated[
    str, Path(description="A registered data set's name.", examples=[examples.DATASET_NAME])
]
ModelId = Annotated[
    str, Path(description="A model's id, or an alias.", examples=[examples.MODEL_ID])
]


async def refuse_version(version: Annotated[str, Path(description="Always 1.")]) -> None:
    """Raises NotFoundError for a version that no model has."""
    if version != VERSION:
        raise NotFoundError("version", version[:100])


_ID_NAMES = {"job_id": "job", "run_id": "run", "model_id": "model"}  # of a path's, in the log


async def permit(request: Request) -> None:
    """Lets a request through to its route.

    Raises ProblemError where the sender's key does not do for it, or not now, and for odd queries.
    """
    services: Services = request.app.state.services
    endpoint = request.scope["endpoint"]
    services.doorman.permit(request.scope, grant_of(request.scope), endpoint.__name__)
    note_ids(**{_ID_NAMES[k]: v for k, v in request.path_params.items() if k in _ID_NAMES})
    if request.scope["query_string"]:
        refuse_odd_query(request)


def refuse_odd_query(request: Request) -> None:
    """Raises ProblemError for query parameters of a path that has none, and for repeated ones."""
    given = Counter(name for name, _ in request.query_params.multi_items())
    query = _find_query(request.scope["endpoint"])
    for name, count in given.items():
        if query is None:
            detail = "this path has no query parameters"
            raise invalid([ErrorItem(f"?{name[:100]}", "extra_forbidden", detail)])
        if count > 1 and name not in query.repeatable():
            raise invalid([ErrorItem(f"?{name[:100]}", "repeated", "given more than once")])


@functools.cache
def _find_query(endpoint: Callable[..., Any]) -> type[Query] | None:
    parameters = inspect.signature(endpoint).parameters.values()
    kinds = [(*get_args(p.annotation), p.annotation)[0] for p in parameters]
    found = (k for k in kinds if isinstance(k, type) and issubclass(k, cast("type", Query)))
    return next(found, None)
