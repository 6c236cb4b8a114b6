"""python -m fmx_client.demo: see Q1 train, compare, predict; everything is stopped at the end.

Exit status: 0 all went well, 1 something failed, 2 wrong usage, 130 interrupted.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, get_args

from fmx_client.client import Client
from fmx_client.demo.data import DataSearch
from fmx_client.demo.server import Server, ServerStartError, log_tail
from fmx_client.demo.story import Story
from fmx_client.errors import FmxClientError
from fmx_client.terminal.text import make_console
from fmx_ml.specs import Preset

FAILED, INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; gives back the exit status."""
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    story = Story(make_console(), options.preset, options.out)
    data_dir = Path(os.environ.get("FMX_DATA_DIR") or ".fmx").absolute()
    try:
        return _run(story, data_dir)
    except KeyboardInterrupt:
        story.complain("interrupted; nothing is left running")
        return INTERRUPTED


def _run(story: Story, data_dir: Path) -> int:
    began_at = time.monotonic()
    log = data_dir / "demo.log"
    story.begin()
    decision = DataSearch(data_dir / "cache", story.tell).decide()
    story.data(decision)
    try:
        with Server(data_dir, log) as server:
            with story.busy("starting server and worker"):
                url = server.wait_until_ready()
            story.server(url, log)
            with Client(url, on_retry=story.progress.trouble) as client:
                succeeded = story.run_job(client, decision, data_dir / "cache")
        if not succeeded:
            story.complain(f"the end of {log}:\n{log_tail(log)}")
    except (ServerStartError, FmxClientError, OSError) as error:
        story.complain(str(error))
        return FAILED
    story.end(time.monotonic() - began_at)
    return 0 if succeeded else FAILED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fmx_client.demo", description=__doc__)
    parser.add_argument(
        "--preset",
        choices=get_args(Preset),
        default="quick",
        help="quick: a smoke version; report: as published (450 epochs at most)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder for the figures [out/demo]"
    )
    return parser.parse_args(arguments)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Leaves through every `finally`, so that nothing is left running."""
    del frame
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
