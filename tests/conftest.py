"""What every room's tests may use: throw-away services and the two columns of the record."""

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
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


# Rooms whose files take minutes begin first, so that no process waits for another's at the end.
_LONG_FIRST = ("e2e", "promises", "deploy", "worker", "fuzz", "protocol", "fmx_client")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by rooms; within one the order stays. Processes that share the files keep it."""
    places = {room: place for place, room in enumerate(_LONG_FIRST)}
    tests = Path(__file__).parent

    def place_of(item: pytest.Item) -> int:
        return places.get(item.path.relative_to(tests).parts[0], len(places))

    items.sort(key=place_of)


@pytest.fixture
def filler(tmp_path: Path) -> Generator[Callable[[], None]]:
    """Takes half a gigabyte of the disk, and gives it back when it is called."""
    path = tmp_path / "filler"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 512 * 1024 * 1024)

    def give_back() -> None:
        path.unlink(missing_ok=True)

    yield give_back
    give_back()
