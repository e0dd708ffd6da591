"""Types the parts of a reactor that a grape uses; resolves names, and sets a clock that never steps."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Protocol, runtime_checkable

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


#: Resolves a host name to its IPv4 addresses; see ``resolver``.
Resolve = Callable[[str], Deferred[list[str]]]


class OnlyIPv6(OSError):
    """A host name that has IPv6 addresses but no IPv4 address."""


@runtime_checkable
class ResolvesAll(Protocol):
    """A reactor that resolves a host name to all its IPv4 addresses by itself, as ``grape.testing`` has one."""

    def resolve_all(self, name: str) -> Deferred[list[str]]: ...


class Steppable(Protocol):
    """A reactor whose clock can be replaced."""

    seconds: Callable[[], float]

    def getDelayedCalls(self) -> Sequence[object]: ...


def resolver(reactor: Reactor) -> Resolve:
    """Returns a function that resolves a host name to all its IPv4 addresses, at least one, in the system's order.

    It fails with OSError or UnicodeError, with OnlyIPv6 for a name that has none but IPv6 addresses. A real reactor
    resolves in its pool of threads, and a shutdown waits for all of them, however long a name server is silent. This
    uses a daemon thread for each name, which a shutdown leaves behind.
    """
    if isinstance(reactor, ResolvesAll):
        return reactor.resolve_all
    if not hasattr(reactor, "callFromThread"):
        return lambda name: reactor.resolve(name).addCallback(lambda host: [host])
    call_from_thread: Callable[..., object] = reactor.callFromThread

    def resolve_in_thread(name: str) -> Deferred[list[str]]:
        resolved: Deferred[list[str]] = Deferred(lambda _: None)

        def tell(tell_it: Callable[..., None], value: object) -> None:
            if not resolved.called:
                tell_it(value)

        def work() -> None:
            try:
                hosts = ipv4_addresses(name)
            except (OSError, UnicodeError) as error:
                call_from_thread(tell, resolved.errback, error)
            else:
                call_from_thread(tell, resolved.callback, hosts)

        Thread(target=work, name=f"resolving {name}", daemon=True).start()
        return resolved

    return resolve_in_thread


def ipv4_addresses(name: str) -> list[str]:
    """Returns the IPv4 addresses of a host name, each once. Blocks; raises OSError (OnlyIPv6) or UnicodeError."""
    try:
        return _addresses(name, socket.AF_INET)
    except OSError as error:
        try:
            found = _addresses(name, socket.AF_INET6)
        except OSError:
            raise error from None
        raise OnlyIPv6(f"{name} has only IPv6 addresses: {found[0]}") from error


def _addresses(name: str, family: socket.AddressFamily) -> list[str]:
    # Of one type of socket: each address would be listed for every type.
    found = socket.getaddrinfo(name, None, family, socket.SOCK_DGRAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def use_monotonic_clock(reactor: Steppable) -> bool:
    """Sets a reactor's timers to the monotonic clock, so that a step of the wall clock moves none of them.

    Twisted's ``reactor.seconds`` is ``time.time``. Only for a reactor of our own process, before the first timer:
    returns False and changes nothing once calls are pending.
    """
    if reactor.getDelayedCalls():
        return False
    reactor.seconds = time.monotonic
    return True
