"""Makes JSON schemas (2020-12) of the types that answers are made of: attrs classes, named tuples, lists, dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs

Schema: TypeAlias = "dict[str, Any]"

_PLAIN: Mapping[object, Schema] = {
    # Any JSON value.
    object: {},
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}


#: Returns the schema of a route's answers.
MakeSchema: TypeAlias = "Callable[[Schemas], Schema]"


class Schemas:
    """The schemas of named types, each written once, to be referred to from anywhere in a document."""

    def __init__(self, prefix: str = "#/components/schemas/") -> None:
        self._prefix = prefix
        self.by_name: dict[str, Schema] = {}

    def of(self, kind: Any) -> Schema:
        """Returns the schema of a type. Raises TypeError for one that no answer is made of."""
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (list, tuple):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            # JSON has no other keys than text.
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin in (Union, UnionType):
            return self._optional(arguments)
        if isinstance(kind, type) and (attrs.has(kind) or hasattr(kind, "_fields")):
            return self._named(kind)
        raise TypeError(f"no schema for {kind!r}")

    def add(self, name: str, schema: Schema) -> Schema:
        """Adds a schema under the name of a type, instead of the one that would be made. Returns the reference."""
        self.by_name[name] = schema
        return {"$ref": self._prefix + name}

    def _optional(self, kinds: tuple[Any, ...]) -> Schema:
        (kind,) = (kind for kind in kinds if kind is not NoneType)
        schema = self.of(kind)
        if "type" in schema:
            return {**schema, "type": [schema["type"], "null"]}
        return {"anyOf": [schema, {"type": "null"}]}

    def _named(self, kind: type) -> Schema:
        name = kind.__name__
        if name not in self.by_name:
            # First a place for it: a type may refer to itself.
            self.by_name[name] = {}
            self.by_name[name] = self._object(kind)
        return {"$ref": self._prefix + name}

    def _object(self, kind: type) -> Schema:
        hints = get_type_hints(kind)
        names = [field.name for field in attrs.fields(kind)] if attrs.has(kind) else list(kind._fields)  # type: ignore[attr-defined]
        schema = object_of({name: self.of(hints[name]) for name in names})
        return {**schema, "description": first_paragraph(kind.__doc__)} if kind.__doc__ else schema


def object_of(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Returns the schema of an object that has all of ``properties``, but perhaps those that are ``optional``."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def first_paragraph(text: str) -> str:
    """Returns the first paragraph of a docstring, in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())
