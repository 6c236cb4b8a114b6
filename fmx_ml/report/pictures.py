"""The pictures of figures: which file of each is shown, and how large it is by itself."""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

from fmx_ml.report.document import Picture, PlacedFigure
from fmx_ml.results import Figure


@dataclass(frozen=True, slots=True)
class Strip:
    """Pictures of a figure that are set alike, so many beside each other."""

    pictures: tuple[Picture, ...]
    per_row: int


ReadArtifact = Callable[[str], bytes]

MAX_SVG_BYTES = 300_000  # from there on a drawing of dots is smaller, and faster, as a PNG

_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
_SVG_HEAD_BYTES = 4_096  # the root element begins within them
_SVG_ROOT = re.compile(rb"<svg\b[^>]*>")
_SVG_SIZE = re.compile(rb'\s(width|height)="([\d.]+)(?:pt|px)?"')
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE = struct.Struct(">II")  # width and height, in the header chunk
_PNG_SIZE_OFFSET = 16
_PNG_DOTS_PER_INCH = 160  # of fmx_ml.plots
_POINTS_PER_INCH = 72


def place_figure(anchor: str, figure: Figure, read_artifact: ReadArtifact) -> PlacedFigure:
    """A figure with its pictures' contents; one that can't be had says so in its place."""
    label = f"Figure {figure.number}" if figure.number[:1].isdigit() else "Added figure"
    stems = _group_by_stem(figure.artifacts)
    shown = [paths for paths in stems.values() if not _MEDIA_TYPES.keys().isdisjoint(paths)]
    pictures = [
        _place_picture(_describe(figure.title, number, len(shown)), paths, read_artifact)
        for number, paths in enumerate(shown, start=1)
    ]
    numbers = [path for path in figure.artifacts if not path.endswith(tuple(_MEDIA_TYPES))]
    return PlacedFigure(anchor, label, figure.title, tuple(pictures), tuple(numbers))


def _group_by_stem(paths: Sequence[str]) -> dict[str, dict[str, str]]:
    """The files of each picture by their suffixes."""
    stems: dict[str, dict[str, str]] = {}
    for path in paths:
        name = PurePosixPath(path)
        stems.setdefault(str(name.with_suffix("")), {})[name.suffix] = path
    return stems


def _describe(title: str, number: int, total: int) -> str:
    return title if total == 1 else f"{title}, picture {number} of {total}"


def _place_picture(alt: str, paths: dict[str, str], read_artifact: ReadArtifact) -> Picture:
    """The SVG, unless it is too large and there is a PNG; what can be had of the two."""
    found: list[Picture] = []
    problems: list[str] = []
    for suffix in (".svg", ".png"):
        if suffix not in paths:
            continue
        picture = _read_picture(alt, paths[suffix], suffix, read_artifact)
        if picture.problem is not None:
            problems.append(picture.problem)
            continue
        found.append(picture)
        if len(picture.content) <= MAX_SVG_BYTES:
            break
    if found:
        return found[-1]
    return Picture(path=next(iter(paths.values())), alt=alt, problem="; ".join(problems))


def _read_picture(alt: str, path: str, suffix: str, read_artifact: ReadArtifact) -> Picture:
    try:
        content = read_artifact(path)
    except (LookupError, OSError):
        return Picture(path=path, alt=alt, problem=f"{path} is missing")
    size = _measure_svg(content) if suffix == ".svg" else _measure_png(content)
    if size is None:
        return Picture(path=path, alt=alt, problem=f"{path} can't be read")
    width, height = size
    return Picture(path, alt, _MEDIA_TYPES[suffix], content, width, height)


def _measure_svg(content: bytes) -> tuple[float, float] | None:
    """Width and height in points; None for what is no SVG of a given size."""
    root = _SVG_ROOT.search(content[:_SVG_HEAD_BYTES])
    if root is None or b"</svg>" not in content[-_SVG_HEAD_BYTES:]:
        return None
    sides = {name: float(value) for name, value in _SVG_SIZE.findall(root[0])}
    width, height = sides.get(b"width", 0.0), sides.get(b"height", 0.0)
    return (width, height) if width > 0 and height > 0 else None


def _measure_png(content: bytes) -> tuple[float, float] | None:
    """Width and height in points; None for what is no PNG, or not all of one."""
    if not content.startswith(_PNG_SIGNATURE) or b"IEND" not in content[-12:]:
        return None
    scale = _POINTS_PER_INCH / _PNG_DOTS_PER_INCH
    width, height = _PNG_SIZE.unpack_from(content, _PNG_SIZE_OFFSET)
    return width * scale, height * scale


def arrange(pictures: Sequence[Picture]) -> list[Strip]:
    """The pictures of a figure in strips: neighbours of one size stand beside each other."""
    strips: list[Strip] = []
    for (width, _), members in groupby(pictures, key=lambda p: (p.width, p.height)):
        found = tuple(members)
        strips.append(Strip(found, min(len(found), _count_per_row(width))))
    return strips


def _count_per_row(width: float) -> int:
    """As many as can still be read on a page."""
    return next((count for count, widest in _WIDEST.items() if width > widest), max(_WIDEST))


_WIDEST = {1: 720, 2: 330, 3: 220, 4: 0}  # pictures in a row: points from which they are too wide
