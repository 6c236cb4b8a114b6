"""Tables as text: aligned for a terminal, and as Markdown."""

from fmx_ml.results import Table

_LARGE = 10  # from there on (epochs, seconds) one decimal says enough
DASH = "\N{EN DASH}"  # where there is no figure
_SMALL = 5e-5  # what four decimals would show as nothing


def format_cell(cell: str | float | None, missing: str = "-") -> str:
    """A cell as a person reads it: four decimals, one from 10 on, and the stand-in for None."""
    if cell is None:
        return missing
    if isinstance(cell, float):
        if 0 < abs(cell) < _SMALL:
            return f"{cell:.2g}"
        return f"{cell:.4f}" if abs(cell) < _LARGE else f"{cell:.1f}"
    return str(cell)


def format_table(table: Table) -> str:
    """A table as text: columns aligned, a dash where there is no figure."""
    cells = [table.columns, *([format_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([table.title, *lines, *([table.note] if table.note else [])])


def format_markdown(table: Table) -> str:
    """A table as GitHub's Markdown, its title above and its note below."""
    lines = [
        _row(table.columns),
        _row(["---"] * len(table.columns)),
        *(_row([format_cell(cell, DASH) for cell in row]) for row in table.rows),
    ]
    note = f"\n{table.note}\n" if table.note else ""
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n{note}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
