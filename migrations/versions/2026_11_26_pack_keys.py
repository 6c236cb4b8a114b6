"""Runs say with which others of their job they may train together.

Revision 2026_11_26_pack_keys, after 2026_11_23_first_record.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_pack_keys"
down_revision = "2026_11_23_first_record"


def upgrade() -> None:
    # What was submitted before trains alone.
    op.add_column("run", sa.Column("pack_key", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "pack_key")
