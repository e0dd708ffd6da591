"""Declares the health checks as routes: of a process, whether it lives; of a grape, whether it should be given work.

The answers are in ``grape.web.probes``.
"""

from __future__ import annotations

from typing import ClassVar

from grape.node.readiness import Check
from grape.web.answer import Answer
from grape.web.parameters import Parameter
from grape.web.probes import Inspected, Probes
from grape.web.request import Request, Right
from grape.web.routes import Routes
from grape.web.schemas import Schema, Schemas, object_of


def schema_of_told(schemas: Schemas, *, is_whole: bool = False) -> Schema:
    """Returns the schema of ``probes.told_of``: what is told of readiness; ``is_whole`` with every check."""
    members: dict[str, Schema] = {
        "status": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}},
        "checks": {"type": "array", "items": schemas.of(Check)},
    }
    if is_whole:
        return object_of({"is_ready": {"type": "boolean"}, **members})
    return object_of(members, optional=("problems", "checks"))


class Health:
    """The health checks of a node; ``grape.resource`` mounts them."""

    route: ClassVar[Routes[Health]] = Routes()

    def __init__(self, inspected: Inspected) -> None:
        self._probes = Probes(inspected)

    @route.get(
        "/livez",
        "Answers as long as the process works.",
        Right.NONE,
        exempt=True,
        example='{"status":"alive"}',
        schema=lambda schemas: object_of({"status": {"const": "alive"}}),
    )
    def livez(self, request: Request) -> Answer:
        """Answers 200."""
        return self._probes.livez()

    @route.get(
        "/readyz",
        "Tells whether the grape should be given work: 200, or 503 with what is missing.",
        Right.NONE,
        Parameter("strict", "Whether state that cannot be written to its file is a reason, too.", bool, False),
        Parameter("verbose", "Whether each check is listed with a sentence.", bool, False),
        exempt=True,
        example='{"status":"ready"}',
        schema=schema_of_told,
        may_be_unavailable=True,
    )
    def readyz(self, request: Request) -> Answer:
        """Answers 200 or 503."""
        return self._probes.readyz(strict=request.argument("strict", bool), verbose=request.argument("verbose", bool))
