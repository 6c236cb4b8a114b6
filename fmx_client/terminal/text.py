"""Values as text a person reads."""

import os
import sys
import unicodedata
from datetime import datetime

from rich.console import Console
from rich.text import Text

NONE = "-"
REAL_DATASET = "fashion-mnist"  # figures of any other one say so
WIDE = 240  # columns where the output is a file or pipe: nothing is cut

_SMALL, _LARGE = 1e-4, 10.0  # four digits after the point say enough between them

STATE_STYLES = {
    "queued": "dim",
    "running": "cyan",
    "cancelling": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
}


def make_console(*, stderr: bool = False) -> Console:
    """The console of a command: as wide as the terminal, or wide enough for a file."""
    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() or os.environ.get("COLUMNS") else WIDE
    return Console(stderr=stderr, width=width, highlight=False)


def plain(text: str) -> str:
    """The text without control characters: what a server sends can't steer the terminal."""
    return "".join(
        c
        if c == "\n" or unicodedata.category(c) not in {"Cc", "Cs"}
        else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def cell(value: object, style: str = "") -> Text:
    """A table's cell; figures with four digits, nothing as a dash."""
    match value:
        case None:
            return Text(NONE, style="dim")
        case float():
            return Text(number(value), style=style)
        case _:
            return Text(plain(str(value)), style=style)


def number(value: float | None) -> str:
    """A figure as a table shows it: 0.9816, 3.2e-06, 205, 12.50."""
    if value is None:
        return NONE
    if not abs(value) < _LARGE:
        return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"
    return f"{value:.2g}" if 0 < abs(value) < _SMALL else f"{value:.4f}"


def signed(difference: float) -> str:
    """A difference with its sign: +0.0008, -183."""
    if abs(difference) < _LARGE:
        return f"{difference:+.4f}"
    return ("+" if difference > 0 else "") + number(difference)


def duration(seconds: float | None) -> str:
    """12 s, 3 min 05 s, 2 h 14 min."""
    if seconds is None:
        return NONE
    whole = max(0, round(seconds))
    minutes, left = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02} min"
    return f"{minutes} min {left:02} s" if minutes else f"{left} s"


def size(size_bytes: float) -> str:
    """12 B, 3.4 kB, 5.6 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":  # noqa: PLR2004 - SI units
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError


def moment(at: datetime | None) -> str:
    """A time in this machine's zone."""
    return NONE if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M")


def state(value: str) -> Text:
    """A state in its colour."""
    return Text(plain(value), style=STATE_STYLES.get(value, ""))
