"""Fleets on both columns, whose brokers and databases a test may take away."""

from collections.abc import Generator
from urllib.parse import urlsplit

import pytest
from fleet import Fleet, running_fleet
from services import Column
from tcp_proxy import Proxy


@pytest.fixture
def fleet(column: Column) -> Generator[Fleet]:
    """Nothing of it runs yet."""
    with running_fleet(column) as made:
        yield made


@pytest.fixture
def broker_proxy(column: Column) -> Generator[Proxy | None]:
    """What stands before Redis; none before files."""
    yield from _stand_before(column, "FMX_BROKER_URL")


@pytest.fixture
def database_proxy(column: Column) -> Generator[Proxy | None]:
    """What stands before PostgreSQL; none before SQLite."""
    yield from _stand_before(column, "FMX_DATABASE_URL")


def _stand_before(column: Column, variable: str) -> Generator[Proxy | None]:
    url = column.environment.get(variable)
    if url is None:
        yield None
        return
    port = urlsplit(url).port
    assert port is not None
    with Proxy(port).running() as proxy:
        column.environment[variable] = url.replace(f":{port}/", f":{proxy.port}/")
        yield proxy
        column.environment[variable] = url
