"""Lines of logs: as text and as JSON, with the ids that they concern."""

import json
import logging
import logging.config
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from fmx_store.log_format import LogFormat, about, log_config, make_thread, note_ids

ROOT = logging.getLogger()


class Lines:
    """A log that goes to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def begin(self, form: LogFormat, level: str = "INFO") -> None:
        logging.config.dictConfig(log_config(level, form, str(self._file)))

    @property
    def all(self) -> list[str]:
        return self._file.read_text().splitlines()

    @property
    def values(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.all]


@pytest.fixture
def lines(tmp_path: Path) -> Generator[Lines]:
    before = (ROOT.handlers, ROOT.level)
    ROOT.handlers = []
    yield Lines(tmp_path / "log")
    for handler in ROOT.handlers:
        handler.close()
    ROOT.handlers, level = before
    ROOT.setLevel(level)


LOG = logging.getLogger("fmx.test")


def test_a_line_of_text_has_its_ids(lines: Lines) -> None:
    lines.begin("text")
    LOG.info("alone")
    with about(job="J", attempt=3):
        LOG.warning("of %s", "it")
        LOG.debug("too little")
    LOG.info("alone again")
    first, second, third = lines.all
    assert first.endswith(" INFO fmx.test: alone")
    assert second.endswith(" WARNING fmx.test: of it [job=J attempt=3]")
    assert third.endswith("alone again")


def test_a_line_of_json_has_members(lines: Lines) -> None:
    lines.begin("json")
    with about(job="J"), about(run="R", attempt=1):
        LOG.info('a "quoted"\nmessage of %d \N{SNOWMAN}', 7)
    (value,) = lines.values
    assert value["message"] == 'a "quoted"\nmessage of 7 \N{SNOWMAN}'
    assert (value["level"], value["logger"]) == ("INFO", "fmx.test")
    assert (value["job"], value["run"], value["attempt"]) == ("J", "R", 1)
    assert value["time"].endswith("Z")
    assert "request_id" not in value


def fail() -> None:
    raise ValueError("broken\nin two")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_told(lines: Lines, form: LogFormat) -> None:
    lines.begin(form)
    try:
        fail()
    except ValueError:
        with about(run="R"):
            LOG.exception("it failed")
    if form == "json":
        (value,) = lines.values
        assert "ValueError: broken\nin two" in value["traceback"]
    else:
        assert lines.all[0].endswith("it failed [run=R]")
        assert "ValueError: broken" in lines.all


def test_ids_are_those_of_the_thread(lines: Lines) -> None:
    lines.begin("json")

    def say() -> None:
        LOG.info("from a thread")

    with about(job="J"):
        inheriting, plain = make_thread(say, "one"), threading.Thread(target=say)
        for thread in (inheriting, plain):
            thread.start()
            thread.join()

        def note() -> None:
            note_ids(run="R")
            say()

        other = make_thread(note, "other")
        other.start()
        other.join()
        LOG.info("here")
    told = [(value.get("job"), value.get("run")) for value in lines.values]
    assert told == [("J", None), (None, None), ("J", "R"), ("J", None)]
