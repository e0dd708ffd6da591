"""Types the parts of a reactor that a grape uses; resolves names, and sets a clock that never steps."""

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
    """A call that is due later; part of Twisted's IDelayedCall."""

    def active(self) -> bool: ...

    def cancel(self) -> object: ...


class Clock(Protocol):
    """Tells the time in seconds and makes calls later; part of Twisted's IReactorTime."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, function: Callable[..., object], /, *arguments: object) -> Timer: ...


class Reactor(Clock, Protocol):
    """Offers what a node needs: time, UDP sockets and name resolution."""

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> IListeningPort: ...

    def resolve(self, name: str) -> Deferred[str]: ...


class Steppable(Protocol):
    """A reactor whose clock can be replaced."""

    seconds: Callable[[], float]

    def getDelayedCalls(self) -> Sequence[object]: ...


def resolver(reactor: Reactor) -> Callable[[str], Deferred[str]]:
    """Returns a function that resolves a host name to its IPv4 address; fails with OSError or UnicodeError.

    A real reactor resolves in its pool of threads, and a shutdown waits for all of them, however long a name server is
    silent. This uses a daemon thread for each name, which a shutdown leaves behind.
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
    """Sets a reactor's timers to the monotonic clock, so that a step of the wall clock moves none of them.

    Twisted's ``reactor.seconds`` is ``time.time``. Only for a reactor of our own process, before the first timer:
    returns False and changes nothing once calls are pending.
    """
    if reactor.getDelayedCalls():
        return False
    reactor.seconds = time.monotonic
    return True
