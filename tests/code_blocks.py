"""The blocks of code in the project's Markdown files."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block: where it stands, its language, which may be none, and its text."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def find_blocks(file: str, text: str | None = None) -> list[Block]:
    """The blocks of a file, by its path in the repository, or of the text that stands for it."""
    text = (ROOT / file).read_text("utf-8") if text is None else text
    return [
        Block(file, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _BLOCK.finditer(text)
    ]


def find_texts(file: str, language: str) -> list[str]:
    """The texts of a file's blocks in a language, of which there must be some."""
    found = [block.text for block in find_blocks(file) if block.language == language]
    assert found, f"{file} has no {language} block"
    return found
