"""The job request that `fmx submit` makes of its options, --spec and --set."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fmx_client.session import USAGE, fail


def make_request(
    kind: str, source: str | None, assignments: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The request's body: what the file says, the options over it, the assignments over its spec.

    A file may hold a spec, or a whole request (it has `kind` or `spec`). Exits with a line on
    stderr where something does not fit.
    """
    said = {} if source is None else _read(source)
    request = said if said.keys() & {"kind", "spec"} else {"spec": said}
    if request.get("kind", kind) != kind:
        fail(f"{source} asks for kind {request['kind']}, the command for {kind}", USAGE)
    spec = request.get("spec", {})
    if assignments and not isinstance(spec, dict):
        fail(f"{source}: spec is no object", USAGE)
    for assignment in assignments:
        _assign(spec, assignment)
    given = {name: value for name, value in options.items() if value is not None}
    return {**request, "kind": kind, "spec": spec, **given}


def _read(source: str) -> dict[str, Any]:
    """The JSON object in a file, or on stdin for `-`."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        value = _parse(text)
    except OSError as error:
        fail(f"{source}: {error.strerror}", USAGE)
    except (ValueError, RecursionError) as error:
        fail(f"{source} is no JSON: {error}", USAGE)
    if not isinstance(value, dict):
        fail(f"{source} holds no JSON object", USAGE)
    return value  # pyright: ignore[reportUnknownVariableType] - JSON


def _parse(text: str) -> Any:
    """A JSON value, as strictly as the server reads it."""
    return json.loads(
        text, object_pairs_hook=_distinct, parse_constant=_no_number, parse_float=_finite
    )


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice in one object")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _assign(spec: dict[str, Any], assignment: str) -> None:
    """Puts one `path=value` in; dots lead into objects.

    A value is JSON where it is some (3, 0.01, true, null, [0, 1]), else text.
    """
    path, equals, text = assignment.partition("=")
    *folders, last = path.split(".")
    if not equals or not all((*folders, last)):
        fail(f"{assignment!r} is not path=value, as model.conv_layers=1", USAGE)
    place = spec
    for key in folders:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            fail(f"{assignment!r}: {key} is no object", USAGE)
    try:
        place[last] = _parse(text)
    except (ValueError, RecursionError):
        place[last] = text
