"""Makes the page of the HTTP API from its OpenAPI document: calls with examples, paths, and the types of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from docs._ext.markdown import block, code, sentence, table
from grape.resource import routes
from grape.web.openapi import document

Json: TypeAlias = Mapping[str, Any]


def described() -> Json:
    """Returns the document as JSON values, as ``GET /openapi.json`` answers it."""
    return cast("Json", json.loads(json.dumps(document(routes()))))


def page(described: Json, download: str) -> str:
    """Returns the page as Markdown; ``download`` is the path of the document itself beside it."""
    return "".join(_parts(described, download))


def _parts(described: Json, download: str) -> Iterator[str]:
    yield "# All calls and paths\n\n"
    yield f"{described['info']['description']}\n\n"
    yield (
        f"Made of the OpenAPI {described['openapi']} document that a grape serves at `GET /openapi.json`; this "
        f"version's is [openapi.json]({download}). [The HTTP API](../http-api.md) explains the calls.\n\n"
    )
    operations = [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        # HEAD is GET without a body, and a POST to these paths finds nothing.
        if method == "get" or (method == "post" and "requestBody" in operation)
    ]
    yield table(
        ("call", "what it does"),
        (
            (f"[{code(f'{method} {path}')}](#{_anchor(method, path)})", each["summary"])
            for method, path, each in operations
        ),
    )
    for method, path, operation in operations:
        yield from _operation(method, path, operation)
    yield "## Types\n\nMembers of the answers' objects. Times are in seconds.\n\n"
    for name, schema in described["components"]["schemas"].items():
        yield from _type(name, schema)


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    yield f"## {method} {path}\n\n{sentence(operation['summary'])}"
    if "description" in operation:
        yield f" {operation['description']}"
    yield f" Right: {code(operation['x-right'])}.\n\n"
    parameters = operation.get("parameters", [])
    yield table(
        ("parameter", "takes", "what it is"),
        (
            (
                code(each["name"]),
                _shown(each["schema"]) + (", required" if each["required"] else ""),
                each["description"],
            )
            for each in parameters
        ),
    )
    yield table(("status", "answer", "when"), _answers(operation))
    asked = _examples(operation.get("requestBody", {}))
    answered = _examples(operation["responses"]["200"])
    for name in dict.fromkeys((*asked, *answered)):
        yield f"{sentence(name).rstrip('.')}:\n\n" if name else "For example:\n\n"
        if name in asked:
            yield block(f"POST {path}\n\n{_json(asked[name])}", "text")
        if name in answered:
            yield block(_json(answered[name]), "json")


def _answers(operation: Json) -> Iterator[tuple[str, str, str]]:
    for status, answer in sorted(operation["responses"].items()):
        shown = [
            _shown(content["schema"]) + ("" if media == "application/json" else f" ({media.partition(';')[0]})")
            for media, content in answer.get("content", {}).items()
        ]
        yield status, "; ".join(dict.fromkeys(shown)), sentence(answer["description"])


def _examples(described: Json) -> Mapping[str, Any]:
    """Returns the examples of a body by name; one that has none is named ""."""
    found: dict[str, Any] = {}
    for content in described.get("content", {}).values():
        if "example" in content:
            found[""] = content["example"]
        found.update((name, example["value"]) for name, example in content.get("examples", {}).items())
    return found


def _type(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}\n\n"
    if "description" in schema:
        yield f"{sentence(schema['description'])}\n\n"
    members = schema.get("properties", {})
    rows = ((code(member), _shown(each), each.get("description", "")) for member, each in members.items())
    yield table(("member", "type", "what it is"), rows) or f"{_shown(schema)}\n\n"


def _shown(schema: Json) -> str:
    """Returns a type in a few words, with links to the types that have names."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_shown, schema["anyOf"])))
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value)) for value in schema["enum"])
    kinds = schema.get("type", "any")
    if isinstance(kinds, list):
        return " or ".join(kinds)
    if kinds == "array" and "items" in schema:
        return f"list of {_shown(schema['items'])}" + _limit(schema, "maxItems")
    if kinds == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_shown(schema['additionalProperties'])}"
    if kinds == "object" and schema.get("properties"):
        return "object with " + ", ".join(map(code, schema["properties"]))
    if "minimum" in schema and "maximum" in schema:
        return f"{kinds}, {schema['minimum']:,} to {schema['maximum']:,}"
    return str(kinds) + _limit(schema, "maxLength")


def _limit(schema: Json, name: str) -> str:
    return f", at most {schema[name]:,}" if name in schema else ""


def _json(value: object) -> str:
    """Returns a value as JSON: in one line if that is short."""
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= 100 else json.dumps(value, indent=2, ensure_ascii=False)


def _anchor(method: str, path: str) -> str:
    """Returns what a heading "GET /trace/lookup" is named in links."""
    return f"{method} {path}".lower().replace("/", "").replace(" ", "-").replace(".", "")
