"""Runs many grapes without HTTP API in one process: ``python -m gauntlet.lab.crowd NUMBER HOST:PORT``.

They take the UDP ports from 21001 on, keep no state, and join through the node that is named. Ends on SIGTERM.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from grape import Grape
from grape.reactor import use_monotonic_clock

FIRST_PORT = 21_001


def main(number: str, node: str) -> None:
    """Runs the grapes until the process is ended."""

    def run(reactor: Any) -> Deferred[None]:
        use_monotonic_clock(reactor)
        for port in range(FIRST_PORT, FIRST_PORT + int(number)):
            Grape(port, [node], reactor=reactor).startService()
        return Deferred()

    task.react(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
