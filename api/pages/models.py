"""Models as a list, and the page where one is tried with a picture."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.dependencies import App, Db, ModelId
from api.pages.rendering import render_page
from api.queries import ModelQuery, PageQuery
from api.routes.aliases import get_aliases
from api.routes.models import get_model, get_models
from api.schemas import AliasBody

router = APIRouter(prefix="/models", include_in_schema=False)


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
        aliases=_list_aliases(services, db),
    )


@router.get("/{model_id}")
def show_model(model_id: ModelId, request: Request, services: App, db: Db) -> Response:
    model = get_model(model_id, services, db)
    aliases = _list_aliases(services, db)
    return render_page(request, "model.html", model=model, aliases=aliases)


def _list_aliases(services: App, db: Db) -> list[AliasBody]:
    """The first that there are; a script shows the others."""
    return get_aliases(services, db, PageQuery()).items
