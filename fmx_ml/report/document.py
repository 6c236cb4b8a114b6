"""The report as plain data: what every rendering shows, and nothing of how it looks.

Texts are sequences of spans, cells hold formatted words, pictures hold their bytes. Anchors are
unique in a document, and every target of a span is one of them.
"""

from dataclasses import dataclass, field
from typing import Literal

VerdictName = Literal["inside", "outside", "not_comparable"]


@dataclass(frozen=True, slots=True)
class Span:
    """Some words of a text: plain, emphasised, or leading to an anchor of the document."""

    text: str
    emphasis: bool = False
    target: str | None = None


Text = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a published figure lies where one more run of ours would: a word and a symbol."""

    name: VerdictName
    word: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a grid.

    `pad` is what follows the text unseen, so that the decimal points of a column stand in line;
    `mark` names the note below the grid that belongs to the cell. A cell can stand over several
    rows of its group; those that it covers have `num_rows` 0.
    """

    text: Text = ()
    verdict: Verdict | None = None
    pad: str = ""
    mark: str = ""
    num_rows: int = 1


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a grid: numbers stand on the right, long texts are broken into lines."""

    heading: str
    is_numeric: bool = False
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that belong together, below a heading of their own where they have one."""

    rows: tuple[tuple[Cell, ...], ...]
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """What stands below a grid; a mark ties it to cells."""

    text: Text
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table that is ready to be set; the first column names the rows where it is text."""

    anchor: str
    label: str
    title: str
    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a figure; width and height in points (1/72 inch).

    Where `problem` says what is wrong with it there is no content.
    """

    path: str
    alt: str
    media_type: str = ""
    content: bytes = field(default=b"", repr=False)
    width: float = 0.0
    height: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PlacedFigure:
    """A figure, its pictures in their order, and the files that hold its numbers."""

    anchor: str
    label: str
    title: str
    pictures: tuple[Picture, ...]
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One job: what it asked, what came out, and what the report has beside it."""

    anchor: str
    key: str
    heading: str
    smoke: str | None
    paragraphs: tuple[Text, ...]
    facts: tuple[Fact, ...]
    outcome: Text
    comparisons: Grid | None
    figures: tuple[PlacedFigure, ...]
    tables: tuple[Grid, ...]
    errata: Text

    @property
    def is_smoke(self) -> bool:
        """Whether its figures are not those of the report's experiment."""
        return self.smoke is not None


@dataclass(frozen=True, slots=True)
class ErratumNote:
    """A place where the published report contradicts itself, and what is done here."""

    anchor: str
    number: int
    where: str
    says: str
    done: str
    evidence: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Text that is set as it is, letter by letter."""

    anchor: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Appendix:
    """A part at the end: texts, errata, tables or listings."""

    anchor: str
    heading: str
    paragraphs: tuple[Text, ...] = ()
    errata: tuple[ErratumNote, ...] = ()
    tables: tuple[Grid, ...] = ()
    listings: tuple[Listing, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A report on finished jobs. `dated` is seconds since 1970, of the newest job's end."""

    title: str
    subtitle: str
    smoke_reasons: tuple[str, ...]
    banner: str
    dated: int
    facts: tuple[Fact, ...]
    introduction: tuple[Text, ...]
    summary: Grid
    sections: tuple[Section, ...]
    appendices: tuple[Appendix, ...]

    @property
    def is_smoke(self) -> bool:
        """Whether any of its figures are not those of the report's experiments."""
        return bool(self.smoke_reasons)
