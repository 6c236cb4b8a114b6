"""Identifiers that sort by the time they were made."""

from ulid import ULID


def new_id() -> str:
    """A ULID: 26 characters, sortable, unique over all machines."""
    return str(ULID())
