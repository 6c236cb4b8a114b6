"""The report as a PDF for paper, set by typst with the fonts that its wheel brings."""

import json
import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fmx_ml.report.document import Cell, Document, Grid, Picture, PlacedFigure, Section
from fmx_ml.report.pictures import arrange

_TEMPLATE = "report.typ"
_MAX_HEAD_LINES = 3
_SUFFIXES = {"image/svg+xml": ".svg", "image/png": ".png"}


def render_pdf(document: Document) -> bytes:
    """The report as a tagged PDF on A4; equal documents give equal bytes.

    The fonts are those in typst's wheel, so it looks alike on every machine, and its date is the
    document's.
    """
    import typst  # noqa: PLC0415 - a server that makes no PDF goes without its 7 MB

    with TemporaryDirectory(prefix="fmx-report-") as name:
        source = write_source(document, Path(name))
        return typst.compile(
            source,
            root=source.parent,
            format="pdf",
            ignore_system_fonts=True,
            timestamp=document.dated,
        )


def write_source(document: Document, folder: Path) -> Path:
    """Writes what typst sets, the template, its data and the pictures, and says where to begin."""
    template = resources.files("fmx_ml.report") / "templates" / _TEMPLATE
    source = folder / _TEMPLATE
    source.write_bytes(template.read_bytes())
    data = asdict(document) | {
        "is_smoke": document.is_smoke,
        "summary": _describe_grid(document.summary),
        "sections": [_describe_section(section, folder) for section in document.sections],
        "appendices": [
            asdict(appendix) | {"tables": [_describe_grid(table) for table in appendix.tables]}
            for appendix in document.appendices
        ],
    }
    (folder / "document.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return source


def _describe_section(section: Section, folder: Path) -> dict[str, Any]:
    return {
        "anchor": section.anchor,
        "heading": section.heading,
        "paragraphs": [[asdict(span) for span in text] for text in section.paragraphs],
        "facts": [asdict(fact) for fact in section.facts],
        "outcome": [asdict(span) for span in section.outcome],
        "tables": [_describe_grid(table) for table in section.tables],
        "figures": [_describe_figure(figure, folder) for figure in section.figures],
        "comparisons": _describe_grid(section.comparisons) if section.comparisons else None,
        "errata": [asdict(span) for span in section.errata],
    }


def _describe_grid(grid: Grid) -> dict[str, Any]:
    """A grid with its heads in lines no longer than what stands below them."""
    rows = [row for group in grid.groups for row in group.rows]
    columns = [
        {**asdict(column), "lines": _break_heading(column.heading, (row[i] for row in rows))}
        for i, column in enumerate(grid.columns)
    ]
    return asdict(grid) | {"columns": columns}


def _break_heading(heading: str, cells: Iterable[Cell]) -> list[str]:
    """A head in lines as long as the cells, or as long as three lines take."""
    longest = max((sum(len(span.text) for span in cell.text) for cell in cells), default=0)
    width = max(longest, *map(len, heading.split()), 1)
    lines = _wrap(heading, width)
    while len(lines) > _MAX_HEAD_LINES:
        width += 1
        lines = _wrap(heading, width)
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _describe_figure(figure: PlacedFigure, folder: Path) -> dict[str, Any]:
    return {
        "anchor": figure.anchor,
        "label": figure.label,
        "title": figure.title,
        "numbers": figure.numbers,
        "strips": [
            {
                "per_row": strip.per_row,
                "pictures": [_describe_picture(picture, folder) for picture in strip.pictures],
            }
            for strip in arrange(figure.pictures)
        ],
    }


def _describe_picture(picture: Picture, folder: Path) -> dict[str, Any]:
    """Writes a picture under a name of our own; its path in the job may be anything."""
    file = None
    if picture.problem is None:
        number = sum(1 for _ in folder.iterdir())
        file = f"picture-{number}{_SUFFIXES[picture.media_type]}"
        (folder / file).write_bytes(picture.content)
    return {
        "file": file,
        "alt": picture.alt,
        "width": picture.width,
        "height": picture.height,
        "problem": picture.problem,
    }
