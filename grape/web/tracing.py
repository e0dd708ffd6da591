"""Declares the routes that run a lookup and tell how it went."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import attrs
from twisted.internet.defer import Deferred

from grape.node.tracing import LookupTrace
from grape.web.answer import Answer
from grape.web.body import dump
from grape.web.parameters import Parameter
from grape.web.request import Request, Right
from grape.web.routes import Routes
from grape.web.schemas import Schema, Schemas

HASH_BYTES = 20

_SERVICE = """{"key": "726573743a7574696c3a6e6574", "seconds": 0.0012, "complete": true,
 "steps": [{"address": "10.0.0.2:20001", "id": "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33", "distance": 158,
  "told_by": null, "state": "answered", "asked_at": 0.0001, "asked_again_at": null, "answered_at": 0.0009,
  "error": null, "nodes": 3, "peers": ["10.0.0.3:1337"], "seq": null}],
 "peers": ["10.0.0.3:1337"], "own_peers": [], "seq": null, "value": null}"""
_ITEM = """{"key": "6d33adc2b6b2c14c3036feefb7fedbca1a880527", "seconds": 0.0009, "complete": true,
 "steps": [{"address": "10.0.0.2:20001", "id": "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33", "distance": 159,
  "told_by": null, "state": "answered", "asked_at": 0.0001, "asked_again_at": null, "answered_at": 0.0008,
  "error": null, "nodes": 3, "peers": [], "seq": 0}],
 "peers": [], "own_peers": [], "seq": 0, "value": "hello world"}"""


def _schema(schemas: Schemas) -> Schema:
    return schemas.of(LookupTrace)


class LookupTracer(Protocol):
    """Runs lookups that are traced: ``grape.node.tracing.LookupTracer``."""

    def lookup(self, name: str) -> Deferred[LookupTrace]: ...

    def get(self, hash: str, salt: bytes = b"") -> Deferred[LookupTrace]: ...


class Tracing:
    """The routes that trace lookups of a node. ``grape.resource`` mounts it."""

    route: ClassVar[Routes[Tracing]] = Routes()

    def __init__(self, tracer: Callable[[], LookupTracer]) -> None:
        self._tracer = tracer

    @route.get(
        "/trace/lookup",
        "Looks a service up, and tells whom the lookup asked and what each answered.",
        Right.READ,
        Parameter("name", "The name of the service.", is_required=True),
        example=_SERVICE,
        schema=_schema,
        may_be_unavailable=True,
    )
    def lookup(self, request: Request) -> Deferred[Answer]:
        """Answers with a ``LookupTrace``."""
        return self._tracer().lookup(request.argument("name", str)).addCallback(_answer)

    @route.get(
        "/trace/get",
        "Looks an item up, and tells whom the lookup asked and what each answered.",
        Right.READ,
        Parameter("hash", "The hash of the item.", bytes, is_required=True, size=HASH_BYTES),
        Parameter("salt", "The salt of a mutable item.", default=""),
        example=_ITEM,
        schema=_schema,
        may_be_unavailable=True,
    )
    def get(self, request: Request) -> Deferred[Answer]:
        """Answers with a ``LookupTrace``."""
        salt = request.argument("salt", str).encode("utf-8", "replace")
        return self._tracer().get(request.argument("hash", bytes).hex(), salt).addCallback(_answer)


def _answer(trace: LookupTrace) -> Answer:
    return Answer(200, dump(attrs.asdict(trace, value_serializer=_rounded)))


def _rounded(instance: object, field: object, value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value
