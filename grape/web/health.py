"""Declares the health checks as routes: of a process, whether it lives; of a grape, whether it should be given work.

Under 60 lines: the answers are in ``grape.web.probes``.
"""

from __future__ import annotations

from typing import ClassVar

from grape.web.answer import Answer
from grape.web.parameters import Parameter
from grape.web.probes import Inspected, Probes
from grape.web.request import Request, Right
from grape.web.routes import Routes


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
        example='{"status":"isolated","problems":["isolated"]}',
    )
    def readyz(self, request: Request) -> Answer:
        """Answers 200 or 503."""
        return self._probes.readyz(strict=request.argument("strict", bool), verbose=request.argument("verbose", bool))
