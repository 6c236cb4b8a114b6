"""The record of each column, and of the embedded one alone."""

from collections.abc import Generator

import pytest
from services import Column
from workers import Record, open_record


@pytest.fixture
def record(column: Column) -> Generator[Record]:
    with open_record(column) as opened:
        yield opened


@pytest.fixture
def embedded_record(embedded_column: Column) -> Generator[Record]:
    with open_record(embedded_column) as opened:
        yield opened
