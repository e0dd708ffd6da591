"""Provides an in-memory datagram network with virtual time, and starts grapes on it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from hashlib import sha256
from struct import Struct
from typing import TypeVar, Unpack

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.interfaces import IListeningPort, IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from grape.config import Keywords
from grape.dht.compact import Address
from grape.service import Grape
from grape.testing.clock import HeapCall, HeapClock

T = TypeVar("T")

FIRST_EPHEMERAL_PORT = 49_152
# What the trace has of each datagram beside hosts and bytes: time of arrival, source port, destination port.
_ARRIVAL = Struct("<dHH")


@implementer(IUDPTransport, IListeningPort)
class MemoryPort:
    """Represents an open UDP port of a MemoryNetwork; ``MemoryReactor.listenUDP`` returns it.

    ``address`` is its (host, port) and ``bytes_sent`` the payload bytes that it sent so far.
    """

    def __init__(self, network: MemoryNetwork, address: Address, protocol: DatagramProtocol) -> None:
        self._network = network
        self.protocol = protocol
        self.address = address
        self.bytes_sent = 0
        # The addresses that it has sent to: a host behind NAT receives from these alone.
        self.known: set[Address] = set()

    def startListening(self) -> None:
        """Connects the protocol to this port."""
        self.protocol.makeConnection(self)

    def write(self, packet: bytes, addr: Address | None = None) -> None:
        """Sends a datagram to ``addr``, a (host, port)."""
        assert addr is not None
        self.bytes_sent += len(packet)
        self.known.add(addr)
        self._network.send(self.address, addr, packet)

    def connect(self, host: str, port: int) -> None:
        """Raises NotImplementedError: a grape's socket is not connected to one address."""
        raise NotImplementedError("a MemoryPort sends to many addresses: name one in write()")

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """Does nothing: the network has no broadcast."""

    def getBroadcastAllowed(self) -> bool:
        """Returns False: the network has no broadcast."""
        return False

    def getHost(self) -> IPv4Address:
        """Returns the address that it listens on."""
        return IPv4Address("UDP", *self.address)

    def stopListening(self) -> Deferred[None]:
        """Closes the port. The Deferred has fired already."""
        if self._network.ports.pop(self.address, None) is not None:
            self.protocol.doStop()
        return succeed(None)

    def received(self, packet: bytes, source: Address) -> None:
        """Hands the protocol a datagram from ``source``, whatever the network would do with it."""
        self.protocol.datagramReceived(packet, source)


@implementer(IReactorUDP)
class MemoryReactor:
    """Serves as the reactor of all that runs on one host of a MemoryNetwork: time, UDP ports and names.

    ``MemoryNetwork.reactor(host)`` returns it. Once ``MemoryNetwork.kill`` has set ``is_dead``, it makes no call.
    """

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self.network = network
        self.host = host
        self.is_dead = False
        self.seconds = network.clock.seconds

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> HeapCall:
        """Schedules a call for ``delay`` virtual seconds from now, if the host is alive then."""
        return self.network.clock.callLater(delay, self._call, callable, args, kwargs)

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> MemoryPort:
        """Opens a UDP port of this host; 0 takes a free one. Raises CannotListenError if the port is taken."""
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
        """Resolves a name by ``network.names`` to its first address. Fails as ``resolve_all`` does."""
        return self.resolve_all(name).addCallback(lambda hosts: hosts[0])

    def resolve_all(self, name: str) -> Deferred[list[str]]:
        """Resolves a name by ``network.names`` to all its addresses.

        The Deferred fails with DNSLookupError if the name is not there or has no address.
        """
        hosts = self.network.names.get(name, [])
        return succeed([hosts] if isinstance(hosts, str) else list(hosts)) if hosts else fail(DNSLookupError(name))

    def primary_address(self) -> str:
        """Returns the address of the host."""
        return self.host

    def _call(self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if not self.is_dead:
            function(*args, **kwargs)


class MemoryNetwork:
    """Carries datagrams between hosts in memory, under conditions that may be changed at any time.

    Arguments, which are attributes too:

    - ``seed`` decides all that is random: the same seed gives the same run.
    - ``latency(dice)`` returns how long one datagram takes, in seconds [1 ms]; ``dice`` is the network's own Random.
    - ``loss``, ``duplication``, ``reordering``: shares from 0 to 1 of the datagrams that are lost, arrive twice, or
      take three times as long.

    Further attributes: ``clock``, the virtual time; ``delays``, the seconds by which each datagram from or to a host
    takes longer, by the host, for members that are far away; ``names``, host names with an IPv4 address or a list of
    them; ``ports``, the open ports by (host, port); ``datagrams``, how many were sent; ``sent(source,
    destination, datagram)``, called for each datagram when it is sent, to be replaced by a test that watches the
    traffic.
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
        self.delays: dict[str, float] = {}
        self.ports: dict[Address, MemoryPort] = {}
        self.names: dict[str, str | list[str]] = {}
        self.sent: Callable[[Address, Address, bytes], object] = lambda source, destination, datagram: None
        self.datagrams = 0
        self._reactors: dict[str, MemoryReactor] = {}
        self._sides: dict[str, int] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._behind_nat: set[str] = set()
        self._trace = sha256()

    @property
    def trace(self) -> str:
        """The SHA-256, in hex digits, of all datagrams that arrived so far, with their times and addresses."""
        return self._trace.hexdigest()

    def reactor(self, host: str) -> MemoryReactor:
        """Returns the reactor of a host, which is named by its IPv4 address; a new one if the host was killed."""
        reactor = self._reactors.get(host)
        if reactor is None or reactor.is_dead:
            reactor = self._reactors[host] = MemoryReactor(self, host)
        return reactor

    # Faults

    def kill(self, host: str) -> None:
        """Ends all that runs on a host at once, as ``kill -9`` does: ports close, timers are never called."""
        reactor = self._reactors.get(host)
        if reactor is not None:
            reactor.is_dead = True
        for address in [address for address in self.ports if address[0] == host]:
            del self.ports[address]

    def partition(self, *sides: Iterable[str]) -> None:
        """Drops datagrams between sides. Each side is some hosts; hosts that are not named form one more."""
        self._sides = {host: number for number, side in enumerate(sides, 1) for host in side}

    def heal(self) -> None:
        """Ends the partition and all one-way links."""
        self._sides.clear()
        self._blocked.clear()

    def block(self, source: str, destination: str) -> None:
        """Drops datagrams from one host to another; the opposite direction stays open."""
        self._blocked.add((source, destination))

    def put_behind_nat(self, host: str) -> None:
        """Drops datagrams to a host unless they come from an address that the port had sent to before."""
        self._behind_nat.add(host)

    # Datagrams

    def send(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Sends a datagram, which arrives after the latency unless it is lost."""
        self.sent(source, destination, datagram)
        self.datagrams += 1
        dice = self.dice
        delay = self.delays.get(source[0], 0.0) + self.delays.get(destination[0], 0.0) if self.delays else 0.0
        if not (self.loss or self.duplication or self.reordering):
            self.clock.post(self.latency(dice) + delay, self._arrive, source, destination, datagram)
            return
        for _ in range(2 if self.duplication and dice.random() < self.duplication else 1):
            if self.loss and dice.random() < self.loss:
                continue
            seconds = self.latency(dice) + delay
            if self.reordering and dice.random() < self.reordering:
                seconds *= 3
            self.clock.post(seconds, self._arrive, source, destination, datagram)

    def result(self, deferred: Deferred[T], seconds: float = 60.0) -> T:
        """Lets virtual time pass until a Deferred fires, and returns its result.

        Raises the exception of its failure, or TimeoutError after ``seconds`` virtual seconds without a result.
        """
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        end = self.clock.seconds() + seconds
        while not results:
            at = self.clock.next_at()
            if at is None or at > end:
                raise TimeoutError(f"the Deferred did not fire within {seconds} virtual seconds (seed {self.seed})")
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
        arrival = _ARRIVAL.pack(self.clock.seconds(), source[1], destination[1])
        self._trace.update(arrival + source[0].encode() + b" " + destination[0].encode() + b" " + datagram)
        port.protocol.datagramReceived(datagram, source)


def host_name(index: int) -> str:
    """Returns the IPv4 address of a host by its number, from 1: ``10.0.0.1``, ``10.0.0.2``, ..."""
    return f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"


class GrapeKeywords(Keywords, total=False):
    """Types what ``make_grape`` passes on: all keywords of ``Grape`` but ``reactor``; times are in milliseconds."""

    dht_port: int
    dht_bootstrap: Iterable[str | Address] | bool | None
    api_port: int | None
    dice: random.Random


def make_grapes(network: MemoryNetwork, number: int, **keywords: Unpack[GrapeKeywords]) -> list[Grape]:
    """Starts grapes on the hosts 1 to ``number``, as ``make_grape`` does, and waits until all have joined."""
    grapes = [make_grape(network, index, **keywords) for index in range(1, number + 1)]
    for grape in grapes:
        network.result(grape.when_ready())
    return grapes


def make_grape(network: MemoryNetwork, index: int, **keywords: Unpack[GrapeKeywords]) -> Grape:
    """Starts a grape on the host number ``index``, from 1, and returns it without waiting.

    ``keywords`` are those of ``Grape``. Unless they name ``dht_bootstrap``, it joins through port 20001 of the first
    host. Its reactor is ``network.reactor(host_name(index))``, and its randomness follows from the network's.
    """
    bootstrap = [f"{host_name(1)}:20001"] if index > 1 else []
    settings: GrapeKeywords = {"dht_bootstrap": bootstrap, "dice": random.Random(network.dice.random())}
    settings.update(keywords)
    grape = Grape(reactor=network.reactor(host_name(index)), **settings)
    grape.startService()
    return grape
