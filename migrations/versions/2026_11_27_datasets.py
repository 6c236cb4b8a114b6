"""Data sets are registered, and jobs name the one that they learn from.

Revision 2026_11_27_datasets, after 2026_11_26_checkpoints.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_datasets"
down_revision = "2026_11_27_live"


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["blob.sha256"], name="fk_dataset_sha256_blob"),
        sa.PrimaryKeyConstraint("name", name="pk_dataset"),
        sa.UniqueConstraint("name", "sha256", name="uq_dataset_name"),
    )
    op.create_index("ix_dataset_sha256", "dataset", ["sha256"])
    op.create_table(
        "job_dataset",
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("contents", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_job_dataset_job_id_job", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["name", "contents"],
            ["dataset.name", "dataset.sha256"],
            name="fk_job_dataset_name_dataset",
        ),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_dataset"),
    )
    op.create_index("ix_job_dataset_name", "job_dataset", ["name"])


def downgrade() -> None:
    # The blobs stay until the next sweep finds that nothing names them.
    op.drop_table("job_dataset")
    op.drop_table("dataset")
