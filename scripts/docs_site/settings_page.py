"""The page of settings, from the class that reads them."""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fmx_store.settings import Settings
from scripts.docs_site.markup import code, join, table

_HEAD = """\
# Settings

Every setting of server and worker is an environment variable. One that is wrong ends the process
with status 2; one that is unknown is warned of, and `fmx doctor` says which was meant. The client
reads `FMX_URL` and `FMX_API_KEY`."""


def make_page() -> str:
    """Variables, what they take, what they are without, and what for."""
    schema: dict[str, Any] = Settings.model_json_schema()["properties"]
    rows = [
        (
            code(f"FMX_{name.upper()}"),
            _values(schema[name]),
            _default(field),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]
    return join([_HEAD, table(("variable", "values", "default", "what for"), rows)])


def _values(schema: dict[str, Any]) -> str:
    """What a variable may hold, in words."""
    kinds = [item for item in schema.get("anyOf", [schema]) if item.get("type") != "null"]
    (kind,) = kinds
    if "enum" in kind:
        return ", ".join(map(code, kind["enum"]))
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
    }
    said = [f"{words} {kind[name]:,}" for name, words in bounds.items() if name in kind]
    name = "path" if kind.get("format") == "path" else str(kind["type"])
    return ", ".join([name, *said])


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    if value is None or value is PydanticUndefined or value == "":
        return "none"
    return code(value if isinstance(value, bool | int | float) else str(value))
