"""Jobs know the trace that they were submitted in.

Revision 2026_11_27_job_traces, after 2026_11_27_model_aliases.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_job_traces"
down_revision = "2026_11_27_model_aliases"


def upgrade() -> None:
    op.add_column("job", sa.Column("traceparent", sa.String(length=55), nullable=True))


def downgrade() -> None:
    op.drop_column("job", "traceparent")
