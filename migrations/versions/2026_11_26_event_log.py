"""Events outlive their job.

Revision 2026_11_26_event_log, after 2026_11_26_keys.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_event_log"
down_revision = "2026_11_26_keys"

_IS_DELETION = sa.text("type = 'deleted'")


def upgrade() -> None:
    with op.batch_alter_table("event") as batch:
        batch.drop_constraint("fk_event_job_id_job", type_="foreignkey")
    op.create_index(
        "ix_event_deleted",
        "event",
        ["at"],
        sqlite_where=_IS_DELETION,
        postgresql_where=_IS_DELETION,
    )


def downgrade() -> None:
    op.drop_index("ix_event_deleted", "event")
    op.execute("DELETE FROM event WHERE job_id NOT IN (SELECT id FROM job)")
    with op.batch_alter_table("event") as batch:
        batch.create_foreign_key(
            "fk_event_job_id_job", "job", ["job_id"], ["id"], ondelete="CASCADE"
        )
