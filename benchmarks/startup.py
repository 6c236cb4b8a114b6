"""How soon the server is there."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import Row, compare, interleave

ROOT = Path(__file__).parents[1]


def measure(rounds: int) -> list[Row]:
    """Importing the server, beside importing torch alone, which the server does without."""

    def importing(module: str) -> Callable[[], object]:
        command = [sys.executable, "-c", f"import {module}"]
        return lambda: subprocess.run(command, check=True, cwd=ROOT)

    return [
        compare("server_import", *interleave(importing("api.main"), importing("torch"), rounds))
    ]
