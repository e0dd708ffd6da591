"""grape.cli.documents: the types are those of what the routes declare, and others are recognised."""

from __future__ import annotations

import json

import pytest

from grape.cli.documents import NodesPage, ServicesPage, Status, Step, Trace, fits
from tests.cli.conftest import EXAMPLES

KINDS: dict[str, type] = {
    "/status": Status,
    "/nodes": NodesPage,
    "/services": ServicesPage,
    "/trace/lookup": Trace,
    "/trace/get": Trace,
}


@pytest.mark.parametrize("path", KINDS)
def test_document_of_a_route_fits_its_type(path: str) -> None:
    document = json.loads(EXAMPLES[path])
    assert fits(document, KINDS[path])
    assert fits({**document, "more": 1}, KINDS[path])
    for name in KINDS[path].__annotations__:
        assert not fits({key: value for key, value in document.items() if key != name}, KINDS[path])
        assert not fits({**document, name: {"of": "another kind"}}, KINDS[path])


def test_entry_of_another_kind_makes_the_document_one() -> None:
    document = json.loads(EXAMPLES["/trace/lookup"])
    assert not fits({**document, "steps": [*document["steps"], {}]}, Trace)
    assert not fits({**document["steps"][0], "peers": [1]}, Step)


@pytest.mark.parametrize(
    ("value", "kind", "is_fit"),
    [
        (1, int, True),
        (1, float, True),
        (1.5, int, False),
        (True, int, False),
        (True, float, False),
        (True, bool, True),
        (None, str | None, True),
        ("", str | None, True),
        (1, str | None, False),
        ([1], list[int], True),
        ([1, "a"], list[int], False),
        ({}, list[int], False),
    ],
)
def test_plain_values_fit_their_kinds(value: object, kind: object, is_fit: bool) -> None:
    assert fits(value, kind) is is_fit
