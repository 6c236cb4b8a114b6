"""The report as GitHub's Markdown."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from fmx_ml.report.document import (
    Appendix,
    Cell,
    Document,
    ErratumNote,
    Fact,
    Grid,
    Picture,
    PlacedFigure,
    Section,
    Text,
)

_SPECIAL = re.compile(r"([\\`*_\[\]|~$@])")
_SPACE = re.compile(r"\s+")
_BLOCK = re.compile(r"^(\d*)([#+.)-])(?=\s)")  # what would begin a heading or a list


def render_markdown(document: Document, figures: str | None = None) -> str:
    """The report as Markdown.

    Args:
        document: what to render.
        figures: the folder that the pictures lie in, as `list_figure_files` names them; None
            leaves pictures out and keeps their captions.
    """
    blocks = [f"# {_escape(document.title)}", _escape(document.subtitle)]
    if document.banner:
        blocks.append(f"> **{_escape(document.banner)}.**")
    blocks += [_facts(document.facts), *_grid(document.summary)]
    blocks += ["## Introduction", *map(_text, document.introduction)]
    for section in document.sections:
        blocks += _section(section, figures)
    for appendix in document.appendices:
        blocks += _appendix(appendix)
    return "\n\n".join(block for block in blocks if block) + "\n"


def list_figure_files(document: Document) -> dict[str, bytes]:
    """The pictures of a document by the paths that its Markdown has below `figures`."""
    return {
        _path(section, picture): picture.content
        for section in document.sections
        for figure in section.figures
        for picture in figure.pictures
        if picture.problem is None
    }


def _path(section: Section, picture: Picture) -> str:
    return str(PurePosixPath(section.key) / PurePosixPath(picture.path).name)


def _section(section: Section, figures: str | None) -> Iterable[str]:
    yield f'<a id="{section.anchor}"></a>\n\n## {_escape(section.heading)}'
    yield from map(_text, section.paragraphs)
    yield _text(section.outcome)
    yield _facts(section.facts)
    for table in section.tables:
        yield from _grid(table)
    for figure in section.figures:
        yield from _figure(section, figure, figures)
    if section.comparisons is not None:
        yield from _grid(section.comparisons)
    if section.errata:
        yield f"Errata that bear on this section: {_text(section.errata)}."


def _figure(section: Section, figure: PlacedFigure, folder: str | None) -> Iterable[str]:
    for picture in figure.pictures:
        if picture.problem is not None:
            yield f"*{_escape(picture.problem)}*"
        elif folder is not None:
            yield f"![{_escape(picture.alt)}](<{folder}/{_path(section, picture)}>)"
    caption = f"**{figure.label}** · {_escape(figure.title)}"
    if figure.numbers:
        caption += f" (numbers: {', '.join(f'`{name}`' for name in figure.numbers)})"
    yield caption


def _appendix(appendix: Appendix) -> Iterable[str]:
    yield f'<a id="{appendix.anchor}"></a>\n\n## {_escape(appendix.heading)}'
    yield from map(_text, appendix.paragraphs)
    for erratum in appendix.errata:
        yield from _erratum(erratum)
    for table in appendix.tables:
        yield from _grid(table)
    for listing in appendix.listings:
        fence = "`" * (_longest_run(listing.text) + 3)
        yield f"### {_escape(listing.title)}\n\n{fence}json\n{listing.text}\n{fence}"


def _erratum(erratum: ErratumNote) -> Iterable[str]:
    yield f"### Erratum {erratum.number}"  # GitHub makes the anchor erratum-N of it
    yield f"*{_escape(erratum.where)}.* {_escape(erratum.says)}"
    yield f"**Here:** {_escape(erratum.done)}"
    if erratum.evidence:
        yield f"**Measured:** {_escape(erratum.evidence)}"


def _facts(facts: Sequence[Fact]) -> str:
    return "\n".join(f"- {_escape(fact.name)}: {_escape(fact.value)}" for fact in facts)


def _grid(grid: Grid) -> Iterable[str]:
    """Caption, table, notes; a group's heading is a row of its own."""
    yield f"**{grid.label}** · {_escape(grid.title)}"
    lines = [
        _row(_escape(column.heading) for column in grid.columns),
        _row("---:" if column.is_numeric else "---" for column in grid.columns),
    ]
    for group in grid.groups:
        if group.heading:
            blanks = [""] * (len(grid.columns) - 1)
            lines.append(_row([f"**{_escape(group.heading)}**", *blanks]))
        lines += [_row(map(_cell, row)) for row in group.rows]
    yield "\n".join(lines)
    for note in grid.notes:
        mark = f"<sup>{note.mark}</sup> " if note.mark else ""
        yield f"{mark}{_text(note.text)}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    if cell.verdict is None:
        return _text(cell.text)
    mark = f"<sup>{cell.mark}</sup>" if cell.mark else ""
    return f"{cell.verdict.symbol} {cell.verdict.word}{mark}"


def _text(text: Text) -> str:
    parts: list[str] = []
    for span in text:
        words = _escape(span.text)
        if span.target is not None:
            words = f"[{words}](#{span.target})"
        parts.append(f"*{words}*" if span.emphasis else words)
    return _BLOCK.sub(r"\1\\\2", "".join(parts))


def _escape(text: str) -> str:
    """The text with nothing in it that Markdown or HTML would take for markup, on one line."""
    line = _SPACE.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line)


def _longest_run(text: str) -> int:
    """The most backticks in a row."""
    return max(map(len, re.findall("`+", text)), default=0)
