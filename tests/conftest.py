"""What every room's tests may use: throw-away services and the two columns of the record."""

import signal

from services import (
    column,
    embedded_column,
    empty_postgres_url,
    engines_column,
    faulty_s3,
    faulty_s3_storage,
    postgres_server,
    postgres_template,
    postgres_url,
    redis_server,
    redis_url,
    s3_credentials,
    s3_server,
    s3_storage,
    sqlite_template,
)

__all__ = [
    "column",
    "embedded_column",
    "empty_postgres_url",
    "engines_column",
    "faulty_s3",
    "faulty_s3_storage",
    "postgres_server",
    "postgres_template",
    "postgres_url",
    "redis_server",
    "redis_url",
    "s3_credentials",
    "s3_server",
    "s3_storage",
    "sqlite_template",
]

# A shell's background job ignores SIGINT, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
