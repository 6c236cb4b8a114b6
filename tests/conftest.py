"""What every room's tests may use: throw-away services and the two columns of the record."""

from services import (
    column,
    embedded_column,
    empty_postgres_url,
    engines_column,
    postgres_server,
    postgres_template,
    postgres_url,
    redis_server,
    redis_url,
    sqlite_template,
)

__all__ = [
    "column",
    "embedded_column",
    "empty_postgres_url",
    "engines_column",
    "postgres_server",
    "postgres_template",
    "postgres_url",
    "redis_server",
    "redis_url",
    "sqlite_template",
]
