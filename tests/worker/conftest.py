"""The record of each column, and of the embedded one alone, as a worker sees it."""

from collections.abc import Generator

import pytest
from services import Column
from stages import Stage
from workers import Record, open_record


@pytest.fixture
def record(column: Column) -> Generator[Record]:
    with open_record(column) as opened:
        yield opened


@pytest.fixture
def embedded_record(embedded_column: Column) -> Generator[Record]:
    with open_record(embedded_column) as opened:
        yield opened


@pytest.fixture
def stage(embedded_record: Record) -> Stage:
    return Stage(embedded_record)


@pytest.fixture(autouse=True)
def _environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test starts inherits its column's variables: by them its processes are found."""
    names = ("column", "engines_column", "embedded_column")
    for name in [name for name in names if name in request.fixturenames][:1]:
        column: Column = request.getfixturevalue(name)
        for variable, value in column.environment.items():
            monkeypatch.setenv(variable, value)
