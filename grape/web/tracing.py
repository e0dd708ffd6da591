"""Declares the route that runs a lookup and tells how it went."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NoReturn, Protocol, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from grape.errors import GrapeError
from grape.node.tracing import LookupTrace
from grape.web.answer import Answer
from grape.web.body import dump
from grape.web.parameters import Parameter
from grape.web.request import Request, Right
from grape.web.routes import Routes

_TRACE = """{"key": "726573743a7574696c3a6e6574", "seconds": 0.0012, "complete": true,
 "steps": [{"address": "10.0.0.2:20001", "id": "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33", "distance": 158,
  "told_by": null, "state": "answered", "asked_at": 0.0001, "asked_again_at": null, "answered_at": 0.0009,
  "error": null, "nodes": 3, "peers": ["10.0.0.3:1337"], "seq": null}],
 "peers": ["10.0.0.3:1337"], "own_peers": [], "seq": null}"""


class LookupTracer(Protocol):
    """Runs lookups that are traced: ``grape.node.tracing.LookupTracer``."""

    def lookup(self, name: str) -> Deferred[LookupTrace]: ...

    def get(self, hash: str, salt: bytes = b"") -> Deferred[LookupTrace]: ...


class Tracing:
    """The route that traces lookups of a node. ``grape.resource`` mounts it."""

    route: ClassVar[Routes[Tracing]] = Routes()

    def __init__(self, tracer: Callable[[], LookupTracer]) -> None:
        self._tracer = tracer

    @route.get(
        "/trace",
        "Looks a service or an item up, and tells whom the lookup asked and what each answered.",
        Right.READ,
        Parameter("name", "The name of a service."),
        Parameter("hash", "Instead of it: the hash of an item, 40 hex digits."),
        Parameter("salt", "The salt of a mutable item.", default=""),
        example=_TRACE,
    )
    def trace(self, request: Request) -> Deferred[Answer]:
        """Answers with a ``LookupTrace`` as JSON."""
        name, hash = request.arguments["name"], request.arguments["hash"]
        if (name is None) == (hash is None):
            raise GrapeError("ERR_GRAPE_PARAMETER: name or hash is needed, and not both", 400)
        tracer = self._tracer()
        if isinstance(name, str):
            traced = tracer.lookup(name)
        else:
            traced = tracer.get(str(hash), request.argument("salt", str).encode("utf-8", "replace"))
        return traced.addCallbacks(_answer, _refuse)


def _answer(trace: LookupTrace) -> Answer:
    return Answer(200, dump(attrs.asdict(trace, value_serializer=_rounded)))


def _refuse(failure: Failure) -> NoReturn:
    """Raises the error, with 400 instead of 200: only the clients of the four calls look for errors in a 200."""
    failure.trap(GrapeError)
    error = cast("GrapeError", failure.value)
    raise GrapeError(error.code, 400 if error.status == 200 else error.status)


def _rounded(instance: object, field: object, value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value
