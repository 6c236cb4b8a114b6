"""Numbers, times and paths as people read them: the filters of the templates."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import urlencode

from api.schemas import format_time
from fmx_ml.results import Figure, Table
from fmx_store.tables import now

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_KIBIBYTE = 1024
NOTHING = "\N{EN DASH}"  # where there is no value
_SMALL, _LARGE = 1e-3, 1e5  # beyond which a number is told by its power of ten


def tell_duration(seconds: float | None) -> str:
    """A span of time by its two largest units."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{whole} s"  # noqa: PLR2004 - one digit
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def tell_age(moment: datetime) -> str:
    """How long ago a moment was, by its largest unit."""
    seconds = (now() - moment).total_seconds()
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def tell_moment(moment: datetime) -> str:
    """A moment to the second, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def tell_number(value: Any) -> str:
    """A cell of a table: numbers with four digits that count, nothing as a dash."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _tell_float(value)
    is_large = isinstance(value, int) and abs(value) >= _LARGE
    return f"{value:,}" if is_large else str(value)


def _tell_float(value: float) -> str:
    if value == 0:
        return "0"
    if not _SMALL <= abs(value) < _LARGE:
        return f"{value:.3e}"
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"


def tell_setting(value: Any) -> str:
    """A parameter, as it was typed; the sizes of a chain of dense layers once each."""
    match value:
        case float():
            return f"{value:.6g}"
        case [[int(first), int()], *_] if _is_chain(value):
            return "-".join(str(size) for size in (first, *(layer[1] for layer in value)))
        case list():
            return ", ".join(tell_setting(item) for item in value)
        case _:
            return tell_number(value)


def _is_chain(layers: Sequence[Any]) -> bool:
    """Whether each of the layers, [in, out], takes what the one before it gives."""
    pairs = all(isinstance(layer, list) and len(layer) == 2 for layer in layers)  # noqa: PLR2004
    return pairs and all(a[1] == b[0] for a, b in pairwise(layers))


def tell_percent(share: float | None) -> str:
    """A share of one, in percent."""
    return NOTHING if share is None else f"{100 * share:.2f} %"


def tell_size(num_bytes: int) -> str:
    """A size in the largest unit that it has one of."""
    size = float(num_bytes)
    for unit in ("B", "KB", "MB"):
        if size < _KIBIBYTE:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KIBIBYTE
    return f"{size:.1f} GB"


def add_query(path: str, parameters: Mapping[str, Any]) -> str:
    """A path with those of the parameters that are given."""
    given = {name: value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def find_numeric_columns(table: Table) -> frozenset[int]:
    """The places of the columns that hold numbers, or nothing."""
    places = range(len(table.columns))
    return frozenset(i for i in places if _is_numeric([row[i] for row in table.rows]))


class Shot(NamedTuple):
    """A picture of a figure, and the files that have the same in them, itself the first."""

    title: str
    picture: str
    files: Sequence[str]


def list_shots(figure: Figure) -> list[Shot]:
    """The pictures of a figure that a page can show; it may have one for each of many runs."""
    pictures = [path for path in figure.artifacts if path.endswith(".png")]
    is_published = figure.number[:1].isdigit()
    head = f"Figure {figure.number}: {figure.title}" if is_published else figure.title
    shots: list[Shot] = []
    for picture in pictures:
        stem = picture.removesuffix(".png")
        title = f"{head} ({_tell_apart(stem, figure)})" if len(pictures) > 1 else head
        files = [path for path in figure.artifacts if path.rpartition(".")[0] == stem]
        shots.append(Shot(title, picture, files))
    return shots


def _tell_apart(stem: str, figure: Figure) -> str:
    """What the name of a picture's file says beyond its figure's number."""
    name = stem.rpartition("/")[2]
    return name.removeprefix(f"figure-{figure.number}-").replace("-", " ")


def _is_numeric(cells: Sequence[Any]) -> bool:
    known = [cell for cell in cells if cell is not None]
    return bool(known) and all(isinstance(cell, int | float) for cell in known)


FILTERS: dict[str, Callable[..., Any]] = {
    "age": tell_age,
    "duration": tell_duration,
    "iso": format_time,
    "moment": tell_moment,
    "number": tell_number,
    "numeric_columns": find_numeric_columns,
    "percent": tell_percent,
    "setting": tell_setting,
    "shots": list_shots,
    "size": tell_size,
    "with_query": add_query,
}
