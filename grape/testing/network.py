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
from collections.abc import Callable, Iterable
from hashlib import sha256
from struct import Struct
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.interfaces import IListeningPort, IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from grape.dht.compact import Address
from grape.service import Grape
from grape.testing.clock import HeapCall, HeapClock

__all__ = ["HeapClock", "MemoryNetwork", "MemoryPort", "MemoryReactor", "host_name", "make_grape", "make_grapes"]

T = TypeVar("T")

FIRST_EPHEMERAL_PORT = 49_152
# When a datagram arrived, from which port to which.
_MOMENT = Struct("<dHH")


@implementer(IUDPTransport, IListeningPort)
class MemoryPort:
    """An open UDP port of a MemoryNetwork."""

    def __init__(self, network: MemoryNetwork, address: Address, protocol: DatagramProtocol) -> None:
        self._network = network
        self.protocol = protocol
        self.address = address
        self.bytes_sent = 0
        # Whom it has sent to: a host behind NAT hears from these alone.
        self.known: set[Address] = set()

    def startListening(self) -> None:
        self.protocol.makeConnection(self)

    def write(self, packet: bytes, addr: Address | None = None) -> None:
        """Send a datagram."""
        assert addr is not None
        self.bytes_sent += len(packet)
        self.known.add(addr)
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
            self.protocol.doStop()
        return succeed(None)

    def received(self, packet: bytes, source: Address) -> None:
        self.protocol.datagramReceived(packet, source)


@implementer(IReactorUDP)
class MemoryReactor:
    """What a grape on one host of a MemoryNetwork takes for its reactor. Once ``is_dead`` nothing is called."""

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self.network = network
        self.host = host
        self.is_dead = False
        self.seconds = network.clock.seconds

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> HeapCall:
        """Call something later, if the host lives then."""
        return self.network.clock.callLater(delay, self._call, callable, args, kwargs)

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

    def _call(self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if not self.is_dead:
            function(*args, **kwargs)


class MemoryNetwork:
    """Datagrams between hosts, under conditions that can be changed at any time.

    ``latency(dice)`` is the time one datagram takes, in seconds; ``loss``, ``duplication`` and ``reordering`` are the
    shares (0 to 1) that get lost, arrive twice, or take three times as long. ``sent(source, destination, datagram)``
    sees every datagram as it is sent. ``trace`` is the SHA-256 of all that arrived so far, and when: the same seed
    gives the same one.
    """

    def __init__(
        self,
        seed: int = 0,
        latency: Callable[[random.Random], float] = lambda dice: 0.001,
        loss: float = 0.0,
        duplication: float = 0.0,
        reordering: float = 0.0,
    ) -> None:
        self.seed = seed
        self.clock = HeapClock()
        self.dice = random.Random(seed)
        self.latency = latency
        self.loss = loss
        self.duplication = duplication
        self.reordering = reordering
        self.ports: dict[Address, MemoryPort] = {}
        self.names: dict[str, str] = {}
        self.sent: Callable[[Address, Address, bytes], object] = lambda source, destination, datagram: None
        self.datagrams = 0
        self._reactors: dict[str, MemoryReactor] = {}
        self._sides: dict[str, int] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._behind_nat: set[str] = set()
        self._trace = sha256()

    @property
    def trace(self) -> str:
        """The SHA-256 of what arrived so far: hex digits."""
        return self._trace.hexdigest()

    def reactor(self, host: str) -> MemoryReactor:
        """The reactor of a host, named by its IPv4 address; a new one for a host that was killed."""
        reactor = self._reactors.get(host)
        if reactor is None or reactor.is_dead:
            reactor = self._reactors[host] = MemoryReactor(self, host)
        return reactor

    # Faults

    def kill(self, host: str) -> None:
        """End a host at once, as ``kill -9`` does. ``reactor(host)`` makes it anew."""
        reactor = self._reactors.get(host)
        if reactor is not None:
            reactor.is_dead = True
        for address in [address for address in self.ports if address[0] == host]:
            del self.ports[address]

    def partition(self, *sides: Iterable[str]) -> None:
        """Let hosts hear only from their own side; hosts that are named nowhere form one more."""
        self._sides = {host: number for number, side in enumerate(sides, 1) for host in side}

    def heal(self) -> None:
        """End all partitions and one-way links."""
        self._sides.clear()
        self._blocked.clear()

    def block(self, source: str, destination: str) -> None:
        """Let nothing through from one host to another; the other way stays open."""
        self._blocked.add((source, destination))

    def put_behind_nat(self, host: str) -> None:
        """Let a host hear only from addresses that it has sent to: it can ask, but not be asked."""
        self._behind_nat.add(host)

    # Datagrams

    def send(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Have a datagram arrive later, if it does."""
        self.sent(source, destination, datagram)
        self.datagrams += 1
        dice = self.dice
        if not (self.loss or self.duplication or self.reordering):
            self.clock.post(self.latency(dice), self._arrive, source, destination, datagram)
            return
        for _ in range(2 if self.duplication and dice.random() < self.duplication else 1):
            if self.loss and dice.random() < self.loss:
                continue
            seconds = self.latency(dice)
            if self.reordering and dice.random() < self.reordering:
                seconds *= 3
            self.clock.post(seconds, self._arrive, source, destination, datagram)

    def result(self, deferred: Deferred[T], seconds: float = 60.0) -> T:
        """What a Deferred fires with once enough virtual time has passed. Raises its failure, or TimeoutError."""
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        end = self.clock.seconds() + seconds
        while not results:
            at = self.clock.next_at()
            if at is None or at > end:
                raise TimeoutError(f"nothing came of it in {seconds} virtual seconds (seed {self.seed})")
            self.clock.step()
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _arrive(self, source: Address, destination: Address, datagram: bytes) -> None:
        port = self.ports.get(destination)
        if (
            port is None
            or (self._sides and self._sides.get(source[0], 0) != self._sides.get(destination[0], 0))
            or (self._blocked and (source[0], destination[0]) in self._blocked)
            or (self._behind_nat and destination[0] in self._behind_nat and source not in port.known)
        ):
            return
        moment = _MOMENT.pack(self.clock.seconds(), source[1], destination[1])
        self._trace.update(moment + source[0].encode() + b" " + destination[0].encode() + b" " + datagram)
        port.protocol.datagramReceived(datagram, source)


def host_name(index: int) -> str:
    """The address of the host with this number, from 1."""
    return f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"


def make_grapes(network: MemoryNetwork, number: int, **keywords: Any) -> list[Grape]:
    """Start ``number`` grapes on hosts 10.0.0.1 and up, each knowing the first, and wait until all are ready."""
    grapes = [make_grape(network, index, **keywords) for index in range(1, number + 1)]
    for grape in grapes:
        network.result(grape.when_ready())
    return grapes


def make_grape(network: MemoryNetwork, index: int, **keywords: Any) -> Grape:
    """Start a grape on host number ``index``, from 1; unless told otherwise it knows host 1."""
    bootstrap = [f"{host_name(1)}:20001"] if index > 1 else []
    dice = random.Random(network.dice.random())
    keywords = {"dht_bootstrap": bootstrap, "dice": dice, **keywords}
    grape = Grape(reactor=network.reactor(host_name(index)), **keywords)
    grape.startService()
    return grape
