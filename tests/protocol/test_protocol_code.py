"""The code does what the model does, in schedules in which everything goes wrong."""

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from real_record import Compared, RealRecord, prepare
from record_model import ModelRecord
from schedules import ALL, Schedule
from sqlalchemy import event

from fmx_store.database import Database
from fmx_store.settings import Settings

SCHEDULES = {"sqlite": 40, "postgresql": 10}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Database]:
    """A record that need not outlive a power cut."""
    if request.param == "postgresql":
        database = Database(Settings(database_url=request.getfixturevalue("postgres_url")).database)
    else:
        shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "fmx.sqlite3")
        database = Database(Settings(data_dir=tmp_path).database)
        event.listen(database.engine, "connect", _hurry)
    prepare(database)
    yield database
    database.close()


def _hurry(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def test_the_code_answers_as_the_model_does(db: Database) -> None:
    num_answers = 0
    for seed in range(SCHEDULES["sqlite" if db.is_sqlite else "postgresql"]):
        real = RealRecord(db)
        record = Compared(ModelRecord(ALL), real)
        with real.at_its_time():
            outcome = Schedule(seed, record=record, traced=True, checkpoints=False).run()
        assert not outcome.complaints, f"\n{outcome}"
        num_answers += record.num_answers
    assert num_answers > 1000
