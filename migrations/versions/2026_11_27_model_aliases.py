"""Models have names that can be moved from one to another.

Revision 2026_11_27_model_aliases, after 2026_11_26_checkpoints.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_model_aliases"
down_revision = "2026_11_26_checkpoints"


def upgrade() -> None:
    op.create_table(
        "model_alias",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=26), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_model_alias_model_id_model"),
        sa.PrimaryKeyConstraint("name", "owner", name="pk_model_alias"),
    )
    op.create_index("ix_model_alias_model", "model_alias", ["model_id"])


def downgrade() -> None:
    # The models stay; whoever asked for one by its alias asks by its id again.
    op.drop_table("model_alias")
