"""A form made of a JSON Schema: what pydantic says of a request, as fields and groups of fields.

What no single control can hold (lists of objects, alternatives of different shapes) is a field of
JSON text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

Schema: TypeAlias = Mapping[str, Any]
Control: TypeAlias = Literal["number", "integer", "text", "choice", "flag", "list", "json"]

_SCALARS: Mapping[str, Control] = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "flag",
}


@dataclass(frozen=True)
class FormField:
    """One control; its pointer is where its value stands in a request."""

    pointer: str
    title: str
    description: str
    control: Control
    nullable: bool
    default: Any = None  # in its schema; the request's own goes before it
    choices: Sequence[str | int | float] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    value_type: str = ""  # of its value, or of the items of a list; empty where there are several

    @property
    def identity(self) -> str:
        """Its id in the page."""
        return name_place(self.pointer)


@dataclass(frozen=True)
class FormGroup:
    """An object: its fields and the groups in it; one that is nullable can be switched off."""

    pointer: str
    title: str
    description: str
    nullable: bool
    parts: Sequence["FormField | FormGroup"]

    @property
    def identity(self) -> str:
        """Its id in the page."""
        return name_place(self.pointer)

    @property
    def fields(self) -> Sequence[FormField]:
        """The fields that are its own."""
        return [part for part in self.parts if isinstance(part, FormField)]

    @property
    def groups(self) -> Sequence["FormGroup"]:
        """The groups in it."""
        return [part for part in self.parts if isinstance(part, FormGroup)]


def name_place(pointer: str) -> str:
    """The id of what shows a place of a request."""
    return "at" + pointer.replace("/", "-")


def make_group(schema: Schema) -> FormGroup:
    """The form of a schema whose root is an object."""
    return _group(schema, schema, "", "", nullable=False)


def _group(root: Schema, schema: Schema, pointer: str, name: str, *, nullable: bool) -> FormGroup:
    properties = cast("Mapping[str, Schema]", schema.get("properties", {}))
    parts = [_part(root, part, f"{pointer}/{key}", key) for key, part in properties.items()]
    return FormGroup(pointer, _title(name), _first_line(schema), nullable, parts)


def _part(root: Schema, given: Schema, pointer: str, name: str) -> FormField | FormGroup:
    schema, nullable = _narrow(root, given)
    if "properties" in schema:
        described = {**schema, **{k: given[k] for k in ("description",) if k in given}}
        return _group(root, described, pointer, name, nullable=nullable)
    return FormField(
        pointer=pointer,
        title=_title(name),
        description=given.get("description", ""),
        control=_control(root, schema),
        nullable=nullable,
        default=given.get("default"),
        choices=schema.get("enum", ()),
        minimum=schema.get("minimum", schema.get("exclusiveMinimum")),
        maximum=schema.get("maximum", schema.get("exclusiveMaximum")),
        max_length=schema.get("maxLength"),
        value_type=_narrow(root, schema.get("items", schema))[0].get("type", ""),
    )


def _narrow(root: Schema, schema: Schema) -> tuple[Schema, bool]:
    """What a schema refers to, and whether null does too."""
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option != {"type": "null"}]
        nullable = len(options) < len(schema["anyOf"])
        if len(options) > 1:  # alternatives of different shapes
            return {}, nullable
        return _narrow(root, options[0])[0], nullable
    reference = schema.get("$ref")
    if reference is None:
        return schema, False
    return root["$defs"][reference.rpartition("/")[2]], False


def _control(root: Schema, schema: Schema) -> Control:
    if "enum" in schema:
        return "choice"
    if schema.get("type") == "array":
        items, _ = _narrow(root, schema.get("items", {}))
        return "list" if items.get("type") in _SCALARS else "json"
    return _SCALARS.get(schema.get("type", ""), "json")


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _first_line(schema: Schema) -> str:
    return schema.get("description", "").partition("\n")[0]
