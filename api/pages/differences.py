"""In which of their parameters some trainings or specs differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

MAX_NAMES = 40  # of parameters that are shown


@dataclass(frozen=True)
class Differences:
    """The names of the parameters that differ, and the values of each item, in their order."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]


def find_differences(items: Sequence[Mapping[str, Any]]) -> Differences:
    """Every parameter, by its path, that not all of the items have with one value."""
    flat = [dict(flatten(item)) for item in items]
    names = list(dict.fromkeys(name for item in flat for name in item))
    differing = [name for name in names if _differs([item.get(name) for item in flat])]
    shown = differing[:MAX_NAMES]
    return Differences(shown, [[item.get(name) for name in shown] for item in flat])


def flatten(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested mappings with its path, as optimiser.learning_rate."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from flatten(cast("Mapping[str, Any]", item), f"{before}{name}.")
        else:
            yield f"{before}{name}", item


def _differs(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)
