"""What mlflow's clients search and sort by: the part of its language that has a meaning here.

    metrics.val_accuracy > 0.9 AND params.`optimiser.name` = 'SGD' AND status IN ('FINISHED')

Clauses are joined by AND. A key is a metric, a parameter, a tag or an attribute; it may stand in
backticks or double quotes. What can't be understood is refused, with the place.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.mlflow.patterns import is_like

MAX_CLAUSES = 20
MAX_KEYS = 5  # that a list is sorted by

_KINDS = {
    **dict.fromkeys(("metric", "metrics"), "metrics"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "params"),
    **dict.fromkeys(("tag", "tags"), "tags"),
    **dict.fromkeys(("attr", "attribute", "attributes", "run"), "attributes"),
}
_KIND = r"(?:(?P<kind>[A-Za-z]+)\s*\.\s*)?"
_NAME = r"(?:`(?P<tick>[^`]+)`|\"(?P<quote>[^\"]+)\"|(?P<bare>[\w./:-]+))"
_ITEM = r"(?:'[^']*'|\"[^\"]*\"|[-+]?[\w.+-]+)"
_CLAUSE = re.compile(
    rf"\s*{_KIND}{_NAME}\s*(?P<operator>!=|<=|>=|=|<|>|NOT\s+IN\b|IN\b|LIKE\b|ILIKE\b)\s*"
    rf"(?P<value>\(\s*{_ITEM}(?:\s*,\s*{_ITEM})*\s*\)|{_ITEM})\s*",
    re.IGNORECASE,
)
_AND = re.compile(r"AND\b", re.IGNORECASE)
_ORDER = re.compile(rf"\s*{_KIND}{_NAME}(?:\s+(?P<direction>ASC|DESC))?\s*", re.IGNORECASE)

Value = float | str
Columns = Mapping[str, Mapping[str, Value]]
"""What is searched: metrics, params, tags and attributes, each by its keys."""
Attributes = Mapping[str, type]
"""The attributes that there are, each with float or str."""


class FilterError(ValueError):
    """A search that can't be understood."""


@dataclass(frozen=True)
class Key:
    """The name of a value that is searched."""

    kind: str
    name: str
    is_number: bool

    def read(self, columns: Columns) -> Value | None:
        """The value, if there is one."""
        return columns[self.kind].get(self.name)


@dataclass(frozen=True)
class Clause:
    """A condition on one value; one that is not there meets none."""

    key: Key
    operator: str
    value: Any

    def holds(self, columns: Columns) -> bool:
        """Whether what is searched meets it."""
        found = self.key.read(columns)
        return found is not None and _OPERATORS[self.operator](found, self.value)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, value: found == value,
    "!=": lambda found, value: found != value,
    "<": lambda found, value: found < value,
    "<=": lambda found, value: found <= value,
    ">": lambda found, value: found > value,
    ">=": lambda found, value: found >= value,
    "LIKE": is_like,
    "ILIKE": lambda found, value: is_like(found.lower(), value.lower()),
    "IN": lambda found, value: found in value,
    "NOT IN": lambda found, value: found not in value,
}
_ON_NUMBERS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_ON_TEXTS = frozenset({"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"})
_LISTS = frozenset({"IN", "NOT IN"})


def parse_filter(text: str, attributes: Attributes) -> list[Clause]:
    """The clauses of a filter. Raises FilterError."""
    clauses: list[Clause] = []
    place = 0
    while text[place:].strip():
        if clauses:
            joined = _AND.match(text, place)
            if joined is None:
                raise FilterError(f"AND is wanted at {_clip(text, place)}")
            place = joined.end()
        found = _CLAUSE.match(text, place)
        if found is None:
            raise FilterError(f"a comparison is wanted at {_clip(text, place)}")
        if len(clauses) == MAX_CLAUSES:
            raise FilterError(f"more than {MAX_CLAUSES} comparisons")
        clauses.append(_make_clause(found, attributes))
        place = found.end()
    return clauses


def _clip(text: str, place: int) -> str:
    return repr(text[place : place + 40])


def _make_clause(found: re.Match[str], attributes: Attributes) -> Clause:
    key = _make_key(found, attributes)
    operator = " ".join(found["operator"].upper().split())
    if operator not in (_ON_NUMBERS if key.is_number else _ON_TEXTS):
        what = "a number" if key.is_number else "a text"
        raise FilterError(f"{key.kind}.{key.name} is {what}, which {operator} does not compare")
    value = found["value"]
    if (operator in _LISTS) != value.startswith("("):
        raise FilterError(f"IN is followed by a list in brackets, nothing else is: {value[:40]!r}")
    if operator in _LISTS:
        return Clause(key, operator, tuple(map(_unquote, re.findall(_ITEM, value[1:-1]))))
    return Clause(key, operator, _to_number(value) if key.is_number else _unquote(value))


def _make_key(found: re.Match[str], attributes: Attributes) -> Key:
    name = found["tick"] or found["quote"] or found["bare"]
    kind = _KINDS.get((found["kind"] or "attributes").lower())
    if kind is None:
        raise FilterError(f"{found['kind']}.{name}: keys begin with metrics, params or tags")
    if kind != "attributes":
        return Key(kind, name, kind == "metrics")
    if name not in attributes:
        raise FilterError(f"there is no attribute {name!r}; there are {', '.join(attributes)}")
    return Key(kind, name, attributes[name] is float)


def _unquote(text: str) -> str:
    if text[0] not in "'\"":
        raise FilterError(f"{text} is compared as a text: put it in quotes")
    return text[1:-1]


def _to_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FilterError(f"{text} is no number") from None


@dataclass(frozen=True)
class Order:
    """A key that a list is sorted by."""

    key: Key
    is_falling: bool


def parse_order(texts: Sequence[str], attributes: Attributes) -> list[Order]:
    """What a list is sorted by, the first key first. Raises FilterError."""
    if len(texts) > MAX_KEYS:
        raise FilterError(f"more than {MAX_KEYS} keys to sort by")
    orders: list[Order] = []
    for text in texts:
        found = _ORDER.fullmatch(text)
        if found is None:
            raise FilterError(f"{text[:40]!r} is no key to sort by")
        falls = (found["direction"] or "ASC").upper() == "DESC"
        orders.append(Order(_make_key(found, attributes), falls))
    return orders
