"""Where the figures of a GPU go: printed and saved one by one, so that none is lost."""

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class OutOfTimeError(Exception):
    """The seconds that were given are over."""


class Ledger:
    """A JSON file that is whole at every moment."""

    def __init__(self, path: Path, limit_seconds: float) -> None:
        """The clock starts now."""
        self._path, self._began, self._limit = path, time.monotonic(), limit_seconds
        self.content: dict[str, Any] = {}

    def seconds_left(self) -> float:
        """Until the limit."""
        return self._limit - (time.monotonic() - self._began)

    def put(self, part: str, name: str, value: Any) -> None:
        """Prints and saves a figure."""
        self.content.setdefault(part, {})[name] = value
        print(f"{self._limit - self.seconds_left():6.1f} s  {part} {name}: {value}", flush=True)
        self.save()

    def save(self) -> None:
        """Writes the file anew, in one move."""
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1, default=str) + "\n")
        partial.replace(self._path)

    def attempt(self, part: str, name: str, work: Callable[[], Any]) -> None:
        """Puts what the work gives; where it fails, why, and goes on."""
        if self.seconds_left() <= 0:
            self.put(part, name, {"skipped": "no time is left"})
            return
        began = time.monotonic()
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - the other figures are wanted all the more
            value = {"failed": repr(error), "trace": traceback.format_exc().splitlines()[-12:]}
        if isinstance(value, dict):
            value = {**value, "took_seconds": round(time.monotonic() - began, 3)}
        self.put(part, name, value)
