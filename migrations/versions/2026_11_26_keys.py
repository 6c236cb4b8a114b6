"""API keys, and whose jobs, models and idempotency keys are.

Revision 2026_11_26_keys, after 2026_11_26_pack_keys.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_keys"
down_revision = "2026_11_26_pack_keys"

_TABLES = ("job", "job_tag", "model")
_OWNED = sa.text("owner IS NOT NULL")
_INDEXES = {
    "ix_job_owner_id": ("job", ["owner", "id"]),
    "ix_job_owner_kind_id": ("job", ["owner", "kind", "id"]),
    "ix_job_owner_state_id": ("job", ["owner", "state", "id"]),
    "ix_job_owner_kind_state_id": ("job", ["owner", "kind", "state", "id"]),
    "ix_job_tag_owner": ("job_tag", ["owner", "tag", "job_id"]),
    "ix_model_owner_id": ("model", ["owner", "id"]),
}


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("hash", name="uq_api_key_hash"),
    )
    # What was submitted before has no owner: with keys on, only an admin sees it.
    for table in _TABLES:
        op.add_column(table, sa.Column("owner", sa.String(length=64), nullable=True))
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns, sqlite_where=_OWNED, postgresql_where=_OWNED)
    _remake_idempotency(with_owner=True)


def downgrade() -> None:
    # Two owners' equal keys can't stand side by side any more; keys that have an owner go.
    op.execute("DELETE FROM idempotency WHERE owner <> ''")
    _remake_idempotency(with_owner=False)
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
    for table in _TABLES:
        op.drop_column(table, "owner")
    op.drop_table("api_key")


def _remake_idempotency(*, with_owner: bool) -> None:
    """A primary key can't be changed in place on SQLite: the rows move to a new table."""
    # The default is for servers that the migration finds running, which know no owners.
    column = sa.Column("owner", sa.String(length=64), nullable=False, server_default=sa.text("''"))
    owner = [column] if with_owner else []
    op.drop_index("ix_idempotency_job", "idempotency")
    op.rename_table("idempotency", "idempotency_before")
    if op.get_bind().dialect.name == "postgresql":  # where a constraint's name is an index's too
        op.drop_constraint("pk_idempotency", "idempotency_before")
    op.create_table(
        "idempotency",
        *owner,
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(*(c.name for c in owner), "key", name="pk_idempotency"),
    )
    kept = "key, request_hash, job_id, created_at"
    given, taken = (f"owner, {kept}", f"'', {kept}") if with_owner else (kept, kept)
    op.execute(f"INSERT INTO idempotency ({given}) SELECT {taken} FROM idempotency_before")  # noqa: S608 - our own names
    op.drop_table("idempotency_before")
    op.create_index("ix_idempotency_job", "idempotency", ["job_id"])
