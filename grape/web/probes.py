"""Answers health checks: from the state of a node to an answer, for the server and the Klein resource.

The server answers plain ones itself, as they have to be answered from the first moment on, before Klein is loaded.

Under 60 lines: two answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from grape.node.readiness import Readiness
from grape.web.answer import NO_STORE, RETRY, Answer
from grape.web.body import dump

ALIVE = Answer(200, b'{"status":"alive"}', headers=NO_STORE)

#: From the target of a plain health check, found by GET and HEAD, to what answers it.
ByTarget = Mapping[bytes, Callable[[], Answer]]


class Inspected(Protocol):
    """A node that knows whether it should be given work: ``grape.node.inspector.Inspector``."""

    def readiness(self) -> Readiness: ...


class Probes:
    """The health checks of one node."""

    def __init__(self, inspected: Inspected) -> None:
        self._inspected = inspected
        self.by_target: ByTarget = {b"/livez": self.livez, b"/readyz": self.readyz}

    def livez(self) -> Answer:
        """Returns 200: whoever gets it knows that the reactor turns."""
        return ALIVE

    def readyz(self, *, strict: bool = False, verbose: bool = False) -> Answer:
        """Returns 200 if the node should be given work, else 503; ``strict`` wants its state on the disk, too.

        ``verbose`` adds each check with a sentence.
        """
        readiness = self._inspected.readiness()
        is_ready = readiness.is_strictly_ready if strict else readiness.is_ready
        told = dump(told_of(readiness, verbose=verbose))
        return Answer(200, told, headers=NO_STORE) if is_ready else Answer(503, told, headers=(*NO_STORE, *RETRY))


def told_of(readiness: Readiness, *, verbose: bool) -> dict[str, object]:
    """Returns what is told of a node's readiness, for JSON."""
    told: dict[str, object] = {"status": readiness.status}
    if readiness.problems or verbose:
        told["problems"] = readiness.problems
    if verbose:
        told["checks"] = [check._asdict() for check in readiness.checks]
    return told
