"""What the rooms need of a reactor, and a clock for it that nobody can step."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Protocol

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

    def callLater(self, delay: float, function: Callable[..., object], /, *arguments: object) -> Timer: ...


class Reactor(Clock, Protocol):
    """What a node needs: time, UDP and names."""

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> IListeningPort: ...

    def resolve(self, name: str) -> Deferred[str]: ...


class Steppable(Protocol):
    """A reactor whose clock can be replaced."""

    seconds: Callable[[], float]

    def getDelayedCalls(self) -> Sequence[object]: ...


def resolver(reactor: Reactor) -> Callable[[str], Deferred[str]]:
    """What resolves a host name to its IPv4 address for a reactor.

    A real reactor's own way uses its pool of threads, and a shutdown waits for all of them, however long a name server
    is silent. A thread of our own is left behind.
    """
    if not hasattr(reactor, "callFromThread"):
        return reactor.resolve
    call_from_thread: Callable[..., object] = reactor.callFromThread

    def resolve_in_thread(name: str) -> Deferred[str]:
        resolved: Deferred[str] = Deferred(lambda _: None)

        def tell(tell_it: Callable[..., None], value: object) -> None:
            if not resolved.called:
                tell_it(value)

        def work() -> None:
            try:
                address = socket.gethostbyname(name)
            except (OSError, UnicodeError) as error:
                call_from_thread(tell, resolved.errback, error)
            else:
                call_from_thread(tell, resolved.callback, address)

        Thread(target=work, name=f"resolving {name}", daemon=True).start()
        return resolved

    return resolve_in_thread


def use_monotonic_clock(reactor: Steppable) -> bool:
    """Have a reactor's timers follow the monotonic clock, so that a step of the wall clock moves none of them.

    Twisted's ``reactor.seconds`` is ``time.time``. Only for a reactor of our own process, before anything is timed:
    returns False and changes nothing once calls are pending.
    """
    if reactor.getDelayedCalls():
        return False
    reactor.seconds = time.monotonic
    return True
