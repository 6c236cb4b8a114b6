"""What Alembic runs: the revisions, over the connection that `migrations.commands` has locked."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel import AutoString, SQLModel

from fmx_store.columns import UtcDateTime, Word
from fmx_store.revision import VERSION_TABLE


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Types of our own as the plain ones that the database sees: a revision must not change."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, (AutoString, Word)):
        length = getattr(item.impl, "length", None)
        return f"sa.String(length={length})" if length else "sa.String()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    render_item=render_item,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
