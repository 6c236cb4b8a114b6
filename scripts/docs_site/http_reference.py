"""The page of the HTTP interface, from the OpenAPI document that the server gives out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.main import create_app
from fmx_store.settings import Settings
from scripts.docs_site.markup import block, code, join, table

_HEAD = """\
# HTTP

Made from the server's OpenAPI document, which it gives out at `/openapi.json` and shows at `/docs`.
Where keys are needed, each request bears one (`Authorization: Bearer fmx_…`), and the scope that
it needs stands below its path."""

Object = Mapping[str, Any]
_METHODS = ("get", "post", "put", "patch", "delete")
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters or fewer",
    "minItems": "{} items or more",
    "maxItems": "{} items or fewer",
}


def make_page() -> str:
    """Every operation by its tag, then every schema."""
    document: dict[str, Any] = create_app(Settings(keys="required")).openapi()
    operations = list(_list_operations(document))
    tags = dict.fromkeys(tag for *_, operation in operations for tag in operation["tags"])
    parts = [_HEAD, str(document["info"]["description"])]
    for tag in tags:
        parts.append(f"## {str(tag).capitalize()}")
        for method, path, operation in operations:
            if operation["tags"][0] == tag:
                parts += _describe(method, path, operation)
    parts.append("## Schemas")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += _describe_schema(name, schema)
    return join(parts)


def _list_operations(document: Object) -> Iterator[tuple[str, str, Object]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def _describe(method: str, path: str, operation: Object) -> Iterator[str]:
    yield f"### {operation['summary']}"
    scopes = [scope for need in operation.get("security", ()) for s in need.values() for scope in s]
    needs = f" (scope {', '.join(map(code, scopes))})" if scopes else ""
    yield f"{code(f'{method} {path}')}{needs}"
    yield str(operation.get("description", ""))
    yield table(
        ("parameter", "in", "type", "what it is"), map(_parameter, operation.get("parameters", ()))
    )
    yield from _describe_body(operation.get("requestBody", {}).get("content", {}))
    yield table(("status", "meaning", "body"), map(_answer, operation["responses"].items()))
    yield from _show_answers(operation["responses"])


def _parameter(parameter: Object) -> tuple[str, str, str, str]:
    name = code(parameter["name"]) + (" (required)" if parameter.get("required") else "")
    schema = parameter.get("schema", {})
    return name, parameter["in"], describe_type(schema), str(parameter.get("description", ""))


def _describe_body(content: Object) -> Iterator[str]:
    for media_type, body in content.items():
        yield f"Body, {code(media_type)}: {describe_type(body.get('schema', {}))}"
        for example in body.get("examples", {}).values():
            yield join([f"{example.get('summary', 'For example')}:", block(example["value"])])


def _answer(item: tuple[str, Object]) -> tuple[str, str, str]:
    status, answer = item
    bodies = [
        f"{code(media_type)} {describe_type(body.get('schema', {}))}".strip()
        for media_type, body in answer.get("content", {}).items()
    ]
    return status, str(answer["description"]), "; ".join(bodies)


def _show_answers(responses: Object) -> Iterator[str]:
    """The example of each answer that is no problem."""
    for status, answer in responses.items():
        for media_type, body in answer.get("content", {}).items():
            if "example" in body and status < "400":
                language = "json" if media_type.endswith("json") else "text"
                yield join([f"Answer {status}:", block(body["example"], language)])


def _describe_schema(name: str, schema: Object) -> Iterator[str]:
    yield f"### {name} {{#{_anchor(name)}}}"
    yield str(schema.get("description", ""))
    required: Sequence[str] = schema.get("required", ())
    rows = [
        (
            code(field) + (" (required)" if field in required else ""),
            describe_type(value),
            _default(value),
            str(value.get("description", "")),
        )
        for field, value in schema.get("properties", {}).items()
    ]
    yield table(("field", "type", "default", "what it is"), rows)
    if not rows:
        yield describe_type(schema)


def _default(schema: Object) -> str:
    return code(schema["default"]) if "default" in schema else ""


def _anchor(name: str) -> str:
    """A schema's own: headings of operations may bear its name."""
    return f"schema-{name.lower()}"


def describe_type(schema: Object) -> str:
    """A schema in a few words, with links to those that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{_anchor(name)})"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(map(describe_type, schema[union]))
    if "allOf" in schema:
        return " and ".join(map(describe_type, schema["allOf"]))
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    bounds = [words.format(schema[name]) for name, words in _BOUNDS.items() if name in schema]
    return ", ".join([_plain_type(schema), *bounds])


def _plain_type(schema: Object) -> str:
    kind = schema.get("type", "any value")
    if kind == "array":
        inner = schema.get("items") or {}
        return f"list of {describe_type(inner)}" if inner else "list"
    if schema.get("format") == "binary":
        return "bytes"
    return str(kind) if "format" not in schema else f"{kind} ({schema['format']})"
