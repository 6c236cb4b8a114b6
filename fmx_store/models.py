"""Models: what finished classifier runs leave for predictions."""

from collections.abc import Sequence

from sqlmodel import col, select

from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.jobs import Page, decode_cursor, encode_cursor
from fmx_store.tables import Model


def require_model(db: Database, model_id: str) -> Model:
    """The model. Raises NotFoundError."""
    with db.read() as session:
        model = session.get(Model, model_id) if is_id(model_id) else None
    if model is None:
        raise NotFoundError("model", model_id)
    return model


def list_models(
    db: Database, *, job_id: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page[Model]:
    """Models, newest first, of one job or all. Raises CursorError."""
    query = select(Model).order_by(col(Model.id).desc()).limit(limit + 1)
    if job_id is not None:
        if not is_id(job_id):
            return Page((), None)
        query = query.where(Model.job_id == job_id)
    if cursor is not None:
        query = query.where(Model.id < decode_cursor(cursor))
    with db.read() as session:
        found = list(session.exec(query))
    more = encode_cursor(found[limit - 1].id) if len(found) > limit else None
    return Page(found[:limit], more)


def models_by_job(db: Database, job_ids: Sequence[str]) -> dict[str, list[Model]]:
    """The models of each job, in the order they were made."""
    models: dict[str, list[Model]] = {job_id: [] for job_id in job_ids}
    with db.read() as session:
        query = select(Model).where(col(Model.job_id).in_(job_ids)).order_by(col(Model.id))
        for model in session.exec(query):
            models[model.job_id].append(model)
    return models
