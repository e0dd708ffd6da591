"""What the rooms need of a reactor, and a clock for it that nobody can step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol


class Timer(Protocol):
    """A call that is due later: IDelayedCall's better part."""

    def active(self) -> bool: ...

    def cancel(self) -> object: ...


class Clock(Protocol):
    """Time in seconds, and calls later in it: IReactorTime."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, function: Callable[..., Any], /, *arguments: object) -> Timer: ...


class Reactor(Clock, Protocol):
    """What a node needs: time, UDP and names."""

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> IListeningPort: ...

    def resolve(self, name: str) -> Deferred[str]: ...


def use_monotonic_clock(reactor: Any) -> bool:
    """Have a reactor's timers follow the monotonic clock, so that a step of the wall clock moves none of them.

    Twisted's ``reactor.seconds`` is ``time.time``. Only for a reactor of our own process, before anything is timed:
    returns False and changes nothing once calls are pending.
    """
    if reactor.getDelayedCalls():
        return False
    reactor.seconds = time.monotonic
    return True
