"""Grapes without sockets and without waiting: an in-memory datagram network on a virtual clock.

Shipped for embedders' tests, as ``treq.testing`` is. The same ``Grape`` runs on it unchanged::

    network = MemoryNetwork(seed=1)
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 2
    assert network.result(grapes[1].lookup("rest:util:net")) == ["10.0.0.1:1337"]

Nothing here looks at the real clock or at real dice: the same seed gives the same run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import AlreadyCalled, AlreadyCancelled, CannotListenError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime, IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from grape.dht.compact import Address
from grape.service import Grape

T = TypeVar("T")

FIRST_EPHEMERAL_PORT = 49_152


@implementer(IDelayedCall)
class HeapCall:
    """A call that is due at a moment of a HeapClock."""

    def __init__(self, clock: HeapClock, at: float, call: Callable[[], object]) -> None:
        self._clock = clock
        self.at = at
        self.call: Callable[[], object] | None = call
        self.called = False

    def getTime(self) -> float:
        return self.at

    def active(self) -> bool:
        return self.call is not None

    def cancel(self) -> None:
        """Take the call back."""
        if self.called:
            raise AlreadyCalled
        if self.call is None:
            raise AlreadyCancelled
        self.call = None
        self._clock.cancelled()

    def delay(self, secondsLater: float) -> None:
        self.reset(self.at + secondsLater - self._clock.seconds())

    def reset(self, secondsFromNow: float) -> None:
        """Have it happen that many seconds from now."""
        call = self.call
        if call is None:
            raise AlreadyCalled if self.called else AlreadyCancelled
        self.call = None
        self._clock.cancelled()
        self.at = self._clock.seconds() + secondsFromNow
        self.call = call
        self._clock.push(self)


@implementer(IReactorTime)
class HeapClock:
    """Virtual time. ``twisted.internet.task.Clock`` sorts all its calls at every new one; this is a heap."""

    def __init__(self) -> None:
        self._now = 0.0
        self._heap: list[tuple[float, int, HeapCall]] = []
        self._order = count()
        self._dead = 0

    def seconds(self) -> float:
        """The time, from 0."""
        return self._now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> HeapCall:
        """Call something ``delay`` seconds from now."""
        call = HeapCall(self, self._now + delay, lambda: callable(*args, **kwargs))
        self.push(call)
        return call

    def getDelayedCalls(self) -> list[HeapCall]:
        """The calls that are due some time."""
        return [call for at, _, call in self._heap if call.call is not None and call.at == at]

    def push(self, call: HeapCall) -> None:
        heappush(self._heap, (call.at, next(self._order), call))

    def cancelled(self) -> None:
        """A call was taken back; its place in the heap is cleared away with many others."""
        self._dead += 1
        if self._dead > 1_000 and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None and entry[2].at == entry[0]]
            heapify(self._heap)
            self._dead = 0

    def next_at(self) -> float | None:
        """When the next call is due."""
        heap = self._heap
        while heap and (heap[0][2].call is None or heap[0][2].at != heap[0][0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def step(self) -> bool:
        """Go to the next call and make it. False if there is none."""
        at = self.next_at()
        if at is None:
            return False
        _, _, call = heappop(self._heap)
        self._now = max(self._now, at)
        function, call.call, call.called = call.call, None, True
        assert function is not None
        function()
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass, with all that is due in it."""
        end = self._now + seconds
        while (at := self.next_at()) is not None and at <= end:
            self.step()
        self._now = end


@implementer(IUDPTransport, IListeningPort)
class MemoryPort:
    """An open UDP port of a MemoryNetwork."""

    def __init__(self, network: MemoryNetwork, address: Address, protocol: DatagramProtocol) -> None:
        self._network = network
        self._protocol = protocol
        self.address = address

    def startListening(self) -> None:
        self._protocol.makeConnection(self)

    def write(self, packet: bytes, addr: Address | None = None) -> None:
        """Send a datagram."""
        assert addr is not None
        self._network.send(self.address, addr, packet)

    def connect(self, host: str, port: int) -> None:
        raise NotImplementedError("grapes send to many addresses")

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """There is no broadcast here."""

    def getBroadcastAllowed(self) -> bool:
        return False

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", *self.address)

    def stopListening(self) -> Deferred[None]:
        """Close the port."""
        if self._network.ports.pop(self.address, None) is not None:
            self._protocol.doStop()
        return succeed(None)

    def received(self, packet: bytes, source: Address) -> None:
        self._protocol.datagramReceived(packet, source)


@implementer(IReactorUDP)
class MemoryReactor:
    """What a grape on one host of a MemoryNetwork takes for its reactor."""

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self.network = network
        self.host = host
        self.seconds = network.clock.seconds
        self.callLater = network.clock.callLater

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> MemoryPort:
        """Open a port of this host; 0 chooses one."""
        number = port or next(
            n for n in range(FIRST_EPHEMERAL_PORT, 65_536) if (self.host, n) not in self.network.ports
        )
        address = (self.host, number)
        if address in self.network.ports:
            raise CannotListenError(self.host, port, OSError("address in use"))
        opened = self.network.ports[address] = MemoryPort(self.network, address, protocol)
        opened.startListening()
        return opened

    def resolve(self, name: str) -> Deferred[str]:
        """The address of a name in ``network.names``."""
        host = self.network.names.get(name)
        return succeed(host) if host is not None else fail(DNSLookupError(name))


class MemoryNetwork:
    """Datagrams between hosts: each takes ``latency(dice)`` seconds, and ``loss`` of them (0 to 1) get lost.

    ``sent(source, destination, datagram)`` sees every datagram as it is sent.
    """

    def __init__(
        self,
        seed: int = 0,
        latency: Callable[[random.Random], float] = lambda dice: 0.001,
        loss: float = 0.0,
    ) -> None:
        self.clock = HeapClock()
        self.dice = random.Random(seed)
        self.latency = latency
        self.loss = loss
        self.ports: dict[Address, MemoryPort] = {}
        self.names: dict[str, str] = {}
        self.sent: Callable[[Address, Address, bytes], object] = lambda source, destination, datagram: None

    def reactor(self, host: str) -> MemoryReactor:
        """The reactor of a host, named by its IPv4 address."""
        return MemoryReactor(self, host)

    def send(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Have a datagram arrive later, if it does."""
        self.sent(source, destination, datagram)
        if self.loss and self.dice.random() < self.loss:
            return
        self.clock.callLater(self.latency(self.dice), self._arrive, source, destination, datagram)

    def result(self, deferred: Deferred[T], seconds: float = 60.0) -> T:
        """What a Deferred fires with once enough virtual time has passed. Raises its failure, or TimeoutError."""
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        end = self.clock.seconds() + seconds
        while not results and self.clock.seconds() <= end:
            if not self.clock.step():
                break
        if not results:
            raise TimeoutError(f"nothing came of it in {seconds} virtual seconds")
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _arrive(self, source: Address, destination: Address, datagram: bytes) -> None:
        port = self.ports.get(destination)
        if port is not None:
            port.received(datagram, source)


def make_grapes(network: MemoryNetwork, number: int, **keywords: Any) -> list[Grape]:
    """Start ``number`` grapes on hosts 10.0.0.1 and up, each knowing the first, and wait until all are ready."""
    grapes = []
    for index in range(1, number + 1):
        host = f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"
        bootstrap = ["10.0.0.1:20001"] if index > 1 else []
        dice = random.Random(network.dice.random())
        grape = Grape(dht_bootstrap=bootstrap, reactor=network.reactor(host), dice=dice, **keywords)
        grape.startService()
        grapes.append(grape)
    for grape in grapes:
        network.result(grape.when_ready())
    return grapes
