"""Aliases: names of models that can be moved from one model to another, at once for all who ask.

An alias belongs to the owner of the model that it names, so two owners may each have one of the
same name. Whoever sees all may meet both: their own goes first, and else the name says too little.
"""

import re

from sqlalchemy import ColumnElement, func, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from fmx_store.errors import (
    AliasNameError,
    AmbiguousAliasError,
    ConflictError,
    CursorError,
    NotFoundError,
)
from fmx_store.ids import is_id
from fmx_store.lifecycle import lock_job
from fmx_store.pages import Page, decode_path, make_page
from fmx_store.tables import MAX_ALIAS_LENGTH, Model, ModelAlias, now, table_of
from fmx_store.viewers import Record, only_seen, shows, viewer_of

MAX_ALIASES = 1000  # of an owner

# Words that a path or a command has another meaning for.
_RESERVED = frozenset({"aliases", "last", "stats"})
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ALIAS_LENGTH - 1}}}")
_ALIAS = table_of(ModelAlias)
_BOTH = tuple_(_ALIAS.c.name, _ALIAS.c.owner)


def is_alias(text: str) -> bool:
    """Whether a model can be called so: never what looks like an id."""
    return bool(_NAME.fullmatch(text)) and not is_id(text) and text not in _RESERVED


def find(record: Record, session: Session, name: str) -> ModelAlias | None:
    """The alias of this name that the record shows. Raises AmbiguousAliasError."""
    if not is_alias(name):
        return None
    query = select(ModelAlias).where(ModelAlias.name == name, *_only_seen(record)).limit(2)
    mine = viewer_of(record).owner or ""
    found = session.exec(query.order_by((col(ModelAlias.owner) == mine).desc())).all()
    if len(found) > 1 and found[0].owner != mine:
        raise AmbiguousAliasError(name)
    return found[0] if found else None


def _only_seen(record: Record) -> tuple[ColumnElement[bool], ...]:
    return only_seen(record, col(ModelAlias.owner))


def require_alias(record: Record, name: str) -> ModelAlias:
    """The alias. Raises NotFoundError, AmbiguousAliasError."""
    with record.read() as session:
        return _require(record, session, name)


def _require(record: Record, session: Session, name: str) -> ModelAlias:
    alias = find(record, session, name)
    if alias is None:
        raise NotFoundError("alias", name)
    return alias


def list_aliases(record: Record, *, limit: int = 50, cursor: str | None = None) -> Page[ModelAlias]:
    """Aliases by name. Raises CursorError."""
    query = select(ModelAlias).where(*_only_seen(record)).order_by(_ALIAS.c.name, _ALIAS.c.owner)
    if cursor is not None:
        name, slash, owner = decode_path(cursor).partition("/")
        if not slash:
            raise CursorError(cursor)
        query = query.where(tuple_(name, owner) < _BOTH)
    with record.read() as session:
        found = session.exec(query.limit(limit + 1)).all()
    return make_page(found, limit, lambda alias: f"{alias.name}/{alias.owner}")


def promote(record: Record, name: str, model_id: str) -> ModelAlias:
    """Lets an alias, new or not, name this model from now on.

    Raises AliasNameError, NotFoundError for the model, ConflictError where its owner has too many
    aliases.
    """
    if not is_alias(name):
        raise AliasNameError(name)
    with record.write() as session:
        model = _lock_model(record, session, model_id)
        alias = ModelAlias(name=name, owner=model.owner or "", model_id=model.id, updated_at=now())
        _refuse_more(session, alias)
        _put(session, alias)
    return alias


def _lock_model(record: Record, session: Session, model_id: str) -> Model:
    """The model, whose job no other transaction deletes meanwhile."""
    model = session.get(Model, model_id) if is_id(model_id) else None
    if model is None or not shows(record, model.owner):
        raise NotFoundError("model", model_id)
    try:
        lock_job(session, model.job_id)
    except NotFoundError:  # deleted since the line above
        raise NotFoundError("model", model_id) from None
    return model


def _refuse_more(session: Session, alias: ModelAlias) -> None:
    owners = ModelAlias.owner == alias.owner
    others = select(func.count()).where(owners, ModelAlias.name != alias.name)
    if session.exec(others).one() >= MAX_ALIASES:
        raise ConflictError(f"there are {MAX_ALIASES:,} aliases already: delete one")


def _put(session: Session, alias: ModelAlias) -> None:
    """Writes the row, new or not: of two transactions that do so at once the later one stands."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    insert = (sqlite.insert if is_sqlite else postgresql.insert)(_ALIAS)
    changed = {"model_id": alias.model_id, "updated_at": alias.updated_at}
    values = {**changed, "name": alias.name, "owner": alias.owner}
    session.connection().execute(
        insert.values(values).on_conflict_do_update(_ALIAS.primary_key, set_=changed)
    )


def remove(record: Record, name: str) -> None:
    """Deletes an alias; its model stays. Raises NotFoundError, AmbiguousAliasError."""
    with record.write() as session:
        alias = _require(record, session, name)
        session.delete(alias)


def names_of_job(session: Session, job_id: str) -> list[str]:
    """What the models of a job are called."""
    query = select(ModelAlias.name).join(Model, col(Model.id) == col(ModelAlias.model_id))
    return list(session.exec(query.where(Model.job_id == job_id).order_by(col(ModelAlias.name))))
