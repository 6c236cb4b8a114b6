"""Markdown as text: tables, blocks, cells."""

import json
from collections.abc import Iterable, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where it has no rows."""
    lines = [_line(row) for row in rows]
    if not lines:
        return ""
    return "\n".join([_line(columns), _line(["---"] * len(columns)), *lines]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """One line, in which a bar ends no cell."""
    return " ".join(text.split()).replace("|", r"\|")


def code(value: Any) -> str:
    """A value as code, in a line of text."""
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def block(value: Any, language: str = "json") -> str:
    """A value, or text, as a block of code."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"```{language}\n{text.rstrip()}\n```\n"


def join(parts: Iterable[str]) -> str:
    """Paragraphs as one text."""
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"
