"""Which revision of the tables this code was written for, and which one a database has."""

from sqlalchemy import Connection, inspect, text

from fmx_store.database import Database

VERSION_TABLE = "fmx_alembic_version"
EXPECTED_REVISION = "2026_11_27_datasets"
EARLIER_REVISIONS = frozenset(
    {
        "2026_11_23_first_record",
        "2026_11_26_pack_keys",
        "2026_11_26_keys",
        "2026_11_26_event_log",
        "2026_11_26_checkpoints",
        "2026_11_27_model_aliases",
        "2026_11_27_job_traces",
        "2026_11_27_live",
    }
)


def get_revision(db: Database) -> str | None:
    """The revision of a database; None where it was never migrated."""
    with db.read() as session:
        return read_revision(session.connection())


def read_revision(connection: Connection) -> str | None:
    """`get_revision` over an open connection."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - our own name


def is_behind(revision: str | None) -> bool:
    """Whether a database lacks what this code needs.

    A revision that is not known here is newer, and has all that this code knows: what a release
    needs no more is removed by a later one.
    """
    return revision is None or revision in EARLIER_REVISIONS
