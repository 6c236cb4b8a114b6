"""The report's figures, and where the report contradicts itself, as data (pydantic only)."""

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from fmx_ml.results import Erratum

_FILE = Path(__file__).with_name("published.json")


class Published(BaseModel):
    """A part of what is published; a question names the members that it compares with."""

    model_config = ConfigDict(frozen=True, extra="ignore")


P = TypeVar("P", bound=Published)


def require_published(kind: str, model: type[P]) -> P:
    """What the report publishes of a question. Raises KeyError where it publishes nothing."""
    return model.model_validate(_content()[kind])


def list_errata(kind: str) -> list[Erratum]:
    """The errata that bear on a kind of experiment, by number."""
    return [
        Erratum(**{name: entry[name] for name in Erratum.model_fields if name in entry})
        for entry in _content()["errata"]
        if kind in entry["kinds"]
    ]


def published_figures(kind: str) -> dict[str, Any]:
    """All that is published of a kind of experiment, as JSON; empty where the report has none."""
    content = _content()
    if kind not in content:
        return {}
    return {
        "source": content["source"],
        **content[kind],
        "data": content["data"],
        "errata": [erratum.model_dump() for erratum in list_errata(kind)],
    }


@cache
def _content() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))
