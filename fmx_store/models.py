"""Models: what finished classifier runs leave for predictions."""

from collections.abc import Sequence

from sqlmodel import col, select

from fmx_store import aliases
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.pages import Page, decode_cursor, make_page
from fmx_store.tables import Model
from fmx_store.viewers import Record, only_seen, shows


def require_model(db: Record, name: str) -> Model:
    """The model with this id, or that an alias names now.

    Raises NotFoundError, AmbiguousAliasError.
    """
    with db.read() as session:
        if is_id(name):
            model = session.get(Model, name)
        else:
            alias = aliases.find(db, session, name)
            model = session.get(Model, alias.model_id) if alias else None
    if model is None or not shows(db, model.owner):
        raise NotFoundError("model", name)
    return model


def list_models(
    db: Record, *, job_id: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page[Model]:
    """Models, newest first, of one job or all. Raises CursorError."""
    query = (
        select(Model)
        .where(*only_seen(db, col(Model.owner)))
        .order_by(col(Model.id).desc())
        .limit(limit + 1)
    )
    if job_id is not None:
        if not is_id(job_id):
            return Page((), None)
        query = query.where(Model.job_id == job_id)
    if cursor is not None:
        query = query.where(Model.id < decode_cursor(cursor))
    with db.read() as session:
        found = session.exec(query).all()
    return make_page(found, limit, lambda model: model.id)


def ids_by_run(db: Record, run_ids: Sequence[str]) -> dict[str, str]:
    """The id of each run's model, of those that have left one."""
    query = select(Model.run_id, Model.id).where(col(Model.run_id).in_(run_ids))
    with db.read() as session:
        return dict(session.exec(query).all())
