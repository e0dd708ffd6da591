"""grape.web.openapi and grape.web.schemas: the description of the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest

from grape.resource import routes
from grape.testing import MemoryNetwork
from grape.web.openapi import document
from grape.web.schemas import Schemas
from tests.web.test_inspection import Site

VECTORS = Path(__file__).parent.parent / "vectors" / "http-vectors.json"


@pytest.fixture
def described() -> dict[str, Any]:
    """The document of all routes."""
    return json.loads(json.dumps(document(routes())))  # type: ignore[no-any-return]


def test_document_is_valid(described: dict[str, Any]) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="pip install openapi-spec-validator")
    validator.validate(described)


def test_document_has_every_route(described: dict[str, Any]) -> None:
    assert set(described["paths"]) == {route.path for route in routes() if route.is_described}
    for route in filter(lambda route: route.is_described, routes()):
        methods = {"post"} if route.forms else {"get", "head", "post"}
        assert set(described["paths"][route.path]) == methods
    ids = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


def test_document_has_every_parameter_with_its_bounds(described: dict[str, Any]) -> None:
    limit, after = described["paths"]["/nodes"]["get"]["parameters"]
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}
    assert after["schema"] == {"type": "string", "pattern": "^([0-9a-fA-F]{2})*$"}
    (name,) = described["paths"]["/sd"]["get"]["parameters"]
    assert name["required"]
    assert name["schema"] == {"type": "string", "minLength": 1}
    assert described["paths"]["/trace/get"]["get"]["parameters"][0]["schema"]["pattern"] == "^([0-9a-fA-F]{2}){20}$"


def test_examples_of_the_calls_are_answers_of_the_node_grape(described: dict[str, Any]) -> None:
    recorded = [v for v in json.loads(VECTORS.read_text()) if "body" in v.get("request", {}) and v.get("response")]
    answers = {
        (vector["request"]["path"], vector["request"]["body"]): vector["response"]["body"] for vector in recorded
    }
    for path in ("/lookup", "/announce", "/put", "/get"):
        call = described["paths"][path]["post"]
        bodies = call["requestBody"]["content"]["application/json"]["examples"]
        told = call["responses"]["200"]["content"]["application/json"]["examples"]
        for name, body in bodies.items():
            answer = answers[path, json.dumps(body["value"], separators=(",", ":"))]
            assert answer == (json.dumps(told[name]["value"]) if name in told else "")


def test_examples_fit_their_schemas(described: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="pip install openapi-spec-validator")
    for path in described["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                for media in answer.get("content", {}).values():
                    schema = {**media["schema"], "components": described["components"]}
                    examples = [one["value"] for one in media.get("examples", {}).values()]
                    for example in [*examples, *([media["example"]] if "example" in media else [])]:
                        jsonschema.validate(example, schema, cls=jsonschema.Draft202012Validator)


def test_document_is_served(network: MemoryNetwork) -> None:
    status, told = Site(network).ask("/openapi.json")
    assert status == 200
    assert told == json.loads(json.dumps(document(routes())))


class Point(NamedTuple):
    """A point.

    With more words.
    """

    x: float
    y: float | None


@attrs.frozen
class Shape:
    """A shape of points."""

    points: list[Point]
    name: str | None
    first: Point | None
    sides: dict[str, int]


def test_schema_is_made_of_types() -> None:
    schemas = Schemas()
    assert schemas.of(Shape) == {"$ref": "#/components/schemas/Shape"}
    point = {"$ref": "#/components/schemas/Point"}
    assert schemas.by_name["Shape"] == {
        "type": "object",
        "description": "A shape of points.",
        "properties": {
            "points": {"type": "array", "items": point},
            "name": {"type": ["string", "null"]},
            "first": {"anyOf": [point, {"type": "null"}]},
            "sides": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["points", "name", "first", "sides"],
    }
    assert schemas.by_name["Point"]["description"] == "A point."
    assert schemas.by_name["Point"]["properties"]["y"] == {"type": ["number", "null"]}


@pytest.mark.parametrize("kind", [Mapping, set, bytes])
def test_type_that_no_answer_has_is_refused(kind: object) -> None:
    with pytest.raises(TypeError):
        Schemas().of(kind)
