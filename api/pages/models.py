"""Models as a list, and the page where one is tried with a picture."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.dependencies import App, Db, ModelId
from api.pages.rendering import render_page
from api.pages.routes import has_route
from api.queries import ModelQuery
from api.routes.models import get_model, get_models

router = APIRouter(prefix="/models", include_in_schema=False)

ALIASES_PATH = "/v1/models/aliases"


@router.get("")
def show_models(
    request: Request, services: App, db: Db, query: Annotated[ModelQuery, Query()]
) -> Response:
    page = get_models(services, db, query)
    return render_page(
        request,
        "models.html",
        asked=query.model_dump(mode="json"),
        models=page.items,
        next_cursor=page.next_cursor,
        has_aliases=has_route(request.app, ALIASES_PATH),
    )


@router.get("/{model_id}")
def show_model(model_id: ModelId, request: Request, services: App, db: Db) -> Response:
    model = get_model(model_id, services, db)
    has_aliases = has_route(request.app, ALIASES_PATH)
    return render_page(request, "model.html", model=model, has_aliases=has_aliases)
