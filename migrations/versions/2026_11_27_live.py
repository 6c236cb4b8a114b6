"""Events tell of epochs, and what runs print is kept while they are trained.

Revision 2026_11_27_live, after 2026_11_26_checkpoints.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_27_live"
down_revision = "2026_11_27_job_traces"

_IS_UNDOING = sa.text("type IN ('rewound', 'artifacts')")

# The epochs that were recorded before are told of at the end of each job's log, so that whoever
# follows it from the beginning has them all.
_TELL = """
INSERT INTO event (job_id, seq, type, data, at)
SELECT run.job_id,
       job.version + ROW_NUMBER() OVER (PARTITION BY run.job_id ORDER BY run.position),
       'epochs',
       CAST('{"epochs": [[' || run.position || ', ' || run.attempt || ', 1, ' || told.num || ']]}'
            AS JSON),
       CURRENT_TIMESTAMP
FROM run
JOIN job ON job.id = run.job_id
JOIN (SELECT run_id, COUNT(*) AS num FROM metric GROUP BY run_id) AS told ON told.run_id = run.id
"""
_COUNT = """
UPDATE job SET version = (SELECT MAX(seq) FROM event WHERE event.job_id = job.id)
WHERE version < (SELECT MAX(seq) FROM event WHERE event.job_id = job.id)
"""


def upgrade() -> None:
    op.add_column("run", sa.Column("log_end", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "log_part",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("num_bytes", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_log_part_job_id_job", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name="fk_log_part_run_id_run", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_log_part"),
    )
    op.create_index("ix_log_part_job", "log_part", ["job_id", "id"])
    op.create_index("ix_log_part_run", "log_part", ["run_id", "id"])
    op.create_index(
        "ix_event_undoing",
        "event",
        ["job_id", "seq"],
        sqlite_where=_IS_UNDOING,
        postgresql_where=_IS_UNDOING,
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"  # which keeps JSON as text
    op.execute(_TELL.replace("AS JSON", "AS TEXT") if is_sqlite else _TELL)
    op.execute(_COUNT)


def downgrade() -> None:
    op.execute("DELETE FROM event WHERE type IN ('epochs', 'rewound')")
    op.drop_index("ix_event_undoing", "event")
    op.drop_table("log_part")
    op.drop_column("run", "log_end")
