"""Describes the HTTP API as an OpenAPI 3.1 document, made of the routes' own declarations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from grape.web import call_schemas
from grape.web.answer import Answer
from grape.web.body import dump
from grape.web.parameters import Parameter
from grape.web.request import Request, Right, Route
from grape.web.routes import Routes
from grape.web.schemas import Schema, Schemas

VERSION = "3.1.0"
JSON = "application/json"
TEXT = "text/plain"

_ABOUT = (
    "A grape is a node of a Grenache network. Calls, each a POST with a JSON body, announce services, look them up, "
    "and put and get items; most of their errors come with status 200, as a JSON string. All other paths are read by "
    "GET or HEAD. The API has no authentication."
)

_ERROR: Schema = {"type": "string", "description": "An error code, perhaps with a sentence after it."}
_REFUSED = {
    "description": "A web page called, or the Host is not this machine's: the text names the setting that allows it.",
    "content": {TEXT: {"schema": {"type": "string"}}},
}
_PROBLEMS = {
    "301": "CAS mismatch: another `seq` than `cas` is stored.",
    "302": "A newer item is stored.",
    "400": "Data is missing or of a wrong type.",
    "413": "The body is too big.",
    "415": "The body has a Content-Encoding.",
    "500": "The body is not JSON, or the grape has a fault.",
    "503": "The grape stops, is overloaded, or cannot write its state file.",
}
_TEXT_PROBLEMS = ("413", "415")


class Description:
    """The route of the document. ``grape.resource`` mounts it; ``routes()`` returns all declarations."""

    route: ClassVar[Routes[Description]] = Routes()

    def __init__(self, routes: Callable[[], Iterable[Route]]) -> None:
        self._routes = routes
        self._document: bytes | None = None

    @route.get("/openapi.json", "Describes this API (OpenAPI 3.1).", Right.NONE, example='{"openapi": "3.1.0"}')
    def openapi(self, request: Request) -> Answer:
        """Answers with the document."""
        if self._document is None:
            self._document = dump(document(self._routes()))
        return Answer(200, self._document)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Returns the document as JSON values."""
    from grape import __version__

    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not route.is_described:
            continue
        if route.methods == ("GET",):
            get = _reading(route, schemas)
            paths[route.path] = {"get": get, "head": _without_bodies(get), "post": _nothing(route)}
        elif route.forms:
            paths[route.path] = {"post": _call(route, schemas)}
    return {
        "openapi": VERSION,
        "info": {
            "title": "Grenache grape",
            "summary": "Service discovery over a DHT.",
            "description": _ABOUT,
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas.by_name},
    }


def _call(route: Route, schemas: Schemas) -> dict[str, Any]:
    described = call_schemas.CALLS[route.name]
    body = {
        "type": "object",
        "properties": {"rid": {"description": "Anything; not read."}, "data": dict(described.data)},
        "required": ["data"],
    }
    answer = {"anyOf": [dict(described.answer), _ERROR]}
    content = {JSON: {"schema": answer, "examples": _examples(described, 1)}}
    if described.may_be_empty:
        content[TEXT] = {"schema": {"type": "string", "maxLength": 0}}
    responses: dict[str, Any] = {
        "200": {
            "description": "; ".join(dict.fromkeys(form.answer for form in route.forms)) + "; or an error, as text.",
            "content": content,
        },
        "403": _REFUSED,
    }
    for status in described.problems:
        responses[status] = _problem(status)
    return {
        "operationId": route.name,
        "summary": route.summary,
        "description": "`data` is " + ", or ".join(f"`{form.data}`" for form in route.forms) + ".",
        "x-right": route.right.value,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": body, "examples": _examples(described, 0)}},
        },
        "responses": responses,
    }


def _examples(described: call_schemas.Call, part: int) -> dict[str, Any]:
    return {name: {"value": json.loads(pair[part])} for name, pair in described.examples.items() if pair[part]}


def _problem(status: str) -> dict[str, Any]:
    # Bare text where a payload is refused, JSON for all else.
    text, told = {TEXT: {"schema": {"type": "string"}}}, {JSON: {"schema": _ERROR}}
    content = text if status in _TEXT_PROBLEMS else {**text, **told} if status == "500" else told
    return {"description": _PROBLEMS[status], "content": content}


def _reading(route: Route, schemas: Schemas) -> dict[str, Any]:
    schema = route.schema(schemas) if route.schema is not None else {"type": "object"}
    media = route.media_type.decode()
    content = {media: {"schema": schema, **({"example": json.loads(route.example)} if media == JSON else {})}}
    responses: dict[str, Any] = {"200": {"description": route.summary, "content": content}}
    if route.parameters:
        responses["400"] = {"description": "A parameter is missing or wrong.", "content": {JSON: {"schema": _ERROR}}}
    responses["403"] = _REFUSED
    responses["413"] = _problem("413")
    if route.may_be_unavailable:
        told = {"anyOf": [schema, _ERROR]} if media == JSON else _ERROR
        responses["503"] = {"description": "Not now: ask again later.", "content": {JSON: {"schema": told}}}
    return {
        "operationId": _id(route),
        "summary": route.summary,
        "x-right": route.right.value,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": responses,
    }


def _without_bodies(operation: Mapping[str, Any]) -> dict[str, Any]:
    responses = {status: {"description": answer["description"]} for status, answer in operation["responses"].items()}
    return {**operation, "operationId": operation["operationId"] + "_head", "responses": responses}


def _nothing(route: Route) -> dict[str, Any]:
    content = {JSON: {"schema": {"const": "ERR_REQ_NOTFOUND"}}}
    return {
        "operationId": _id(route) + "_post",
        "summary": "Finds nothing: only the calls are made by POST.",
        "responses": {
            "200": {"description": "Nothing was found.", "content": content},
            "403": _REFUSED,
            "413": _problem("413"),
        },
    }


def _id(route: Route) -> str:
    return route.name.replace(".", "_")


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: Schema
    if parameter.kind is int:
        schema = {"type": "integer", "minimum": parameter.low, "maximum": parameter.high}
    elif parameter.kind is bool:
        schema = {"type": "boolean"}
    elif parameter.kind is bytes:
        count = f"{{{parameter.size}}}" if parameter.size else "*"
        schema = {"type": "string", "pattern": f"^([0-9a-fA-F]{{2}}){count}$"}
    else:
        schema = {"type": "string", **({"minLength": 1} if parameter.is_required else {})}
    if parameter.default is not None and not isinstance(parameter.default, bytes):
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.summary,
        "required": parameter.is_required,
        "schema": schema,
    }
