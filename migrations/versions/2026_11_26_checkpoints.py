"""Runs have checkpoints to go on from.

Revision 2026_11_26_checkpoints, after 2026_11_26_event_log.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_checkpoints"
down_revision = "2026_11_26_event_log"


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name="fk_checkpoint_run_id_run", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blob.sha256"], name="fk_checkpoint_sha256_blob"),
        sa.PrimaryKeyConstraint("run_id", "epoch", name="pk_checkpoint"),
    )
    op.create_index("ix_checkpoint_sha256", "checkpoint", ["sha256"])


def downgrade() -> None:
    # The blobs stay until the next sweep finds that nothing names them.
    op.drop_table("checkpoint")
