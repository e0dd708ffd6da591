"""Helps tests over a MemoryNetwork: scripted nodes, a protocol without a node, and records of the datagrams."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha1
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from grape import Grape
from grape.dht import bencoding
from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address, encode_peer
from grape.dht.items import Item, signature_input
from grape.dht.messages import Error, Query, Response
from grape.dht.responder import Responder
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Tokens
from grape.encoding import Value, to_bencode
from grape.protocol import DHTProtocol
from grape.store import MemoryItems, MemoryPeers
from grape.testing import MemoryNetwork

PORT = 20_001

Message = Query | Response | Error
Reply = Callable[[Query], dict[bytes, BValue] | Error | None]


def silent(query: Query) -> None:
    """Sends no reply, as a dead node."""


def friendly(query: Query) -> dict[bytes, BValue]:
    """Replies as a node without contacts that accepts every write."""
    return {b"token": b"token"} if query.method in (b"get_peers", b"get") else {}


def refusing(query: Query) -> Error:
    """Replies to each query with an error."""
    return Error(202, "out of order", None)


class Remote(DatagramProtocol):
    """Answers queries with what ``reply(query)`` returns, ``delay`` seconds later, and keeps all messages in ``heard``.

    ``reply`` returns the values of a response, an Error, or None for no answer.
    """

    noisy = False

    def __init__(
        self, network: MemoryNetwork, host: str, reply: Reply = friendly, *, delay: float = 0.0, port: int = PORT
    ) -> None:
        self.id = sha1(host.encode()).digest()
        self.address = (host, port)
        self.reply: Reply = reply
        self.delay = delay
        self.heard: list[Message] = []
        self._network = network
        network.reactor(host).listenUDP(port, self)

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        message = krpc.decode(datagram)
        self.heard.append(message)
        reply = self.reply(message) if isinstance(message, Query) else None
        if isinstance(reply, Error):
            self.send(krpc.encode_error(message.transaction_id, reply.code, reply.message), addr)
        elif reply is not None:
            values = {b"id": self.id, **reply}
            self.send(krpc.encode_response(message.transaction_id, values, encode_peer(addr)), addr)

    def send(self, datagram: bytes, address: Address) -> None:
        assert self.transport is not None
        self._network.clock.callLater(self.delay, self.transport.write, datagram, address)

    def ask(self, address: Address, method: bytes, *, read_only: bool = False, **arguments: BValue) -> None:
        """Sends a query."""
        named: dict[bytes, BValue] = {name.encode(): value for name, value in arguments.items()}
        self.send(krpc.encode_query(b"aa", method, {b"id": self.id, **named}, read_only=read_only), address)

    def methods(self) -> list[bytes]:
        """Returns the methods of the queries received so far."""
        return [message.method for message in self.heard if isinstance(message, Query)]


class RecordingListener:
    """Keeps all that a protocol tells its listener."""

    def __init__(self) -> None:
        self.listed: list[Address] = []
        self.dropped: list[Address] = []
        self.clones: list[Address] = []
        self.warnings: list[tuple[str, Address]] = []

    def contact_listed(self, address: Address) -> None:
        self.listed.append(address)

    def contact_dropped(self, address: Address) -> None:
        self.dropped.append(address)

    def clone_found(self, address: Address) -> None:
        self.clones.append(address)

    def warned(self, reason: str, address: Address) -> None:
        self.warnings.append((reason, address))


class Bare:
    """Sets up a DHTProtocol with its table and stores, without a node around it."""

    def __init__(self, network: MemoryNetwork, host: str = "10.9.9.9", **keywords: Any) -> None:
        self.network = network
        self.address = (host, PORT)
        dice = random.Random(host)
        reactor: Any = network.reactor(host)
        self.table = RoutingTable(dice.randbytes(20))
        self.peers = MemoryPeers(240.0)
        self.ears = RecordingListener()
        responder = Responder(
            self.table,
            Tokens(dice.randbytes, reactor.seconds()),
            self.peers,
            MemoryItems(),
            dice.sample,
            lambda key, peer: None,
        )
        self.protocol = DHTProtocol(reactor, self.table, responder, dice.randbytes, self.ears, **keywords)
        self.port = reactor.listenUDP(PORT, self.protocol)

    def knows(self, *remotes: Remote) -> None:
        """Lists nodes in the routing table, as if they had answered now."""
        for remote in remotes:
            self.table.heard(remote.id, remote.address, self.network.clock.seconds())


class Traffic:
    """Keeps the messages sent on a network from now on, each with time, source and destination."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.sent: list[tuple[float, Address, Address, Message]] = []
        self._network = network
        network.sent = self._saw

    def _saw(self, source: Address, destination: Address, datagram: bytes) -> None:
        self.sent.append((self._network.clock.seconds(), source, destination, krpc.decode(datagram)))

    def clear(self) -> None:
        self.sent.clear()

    def queries(self, *methods: bytes, source: Address | None = None, to: Address | None = None) -> list[float]:
        """Returns the times at which queries of these methods (of any, if none is named) were sent."""
        return [
            at
            for at, sender, receiver, message in self.sent
            if isinstance(message, Query)
            and (not methods or message.method in methods)
            and source in (None, sender)
            and to in (None, receiver)
        ]


class Key:
    """Signs BEP 44 items with an ed25519 key whose private bytes are one byte repeated."""

    def __init__(self, byte: int = 1) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([byte]) * 32)
        self.public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def item(self, raw: bytes, seq: int) -> Item:
        """Returns an item with a bencoded value and without a salt."""
        return Item(raw, self.public, self._private.sign(signature_input(raw, seq, b"")), seq)

    def put(self, grape: Grape, value: Value, seq: int, *, salt: bytes = b"", cas: int | None = None) -> Deferred[str]:
        """Puts a signed value through a grape."""
        signature = self._private.sign(signature_input(bencoding.encode(to_bencode(value)), seq, salt))
        return grape.put(value, key=self.public, signature=signature, seq=seq, salt=salt, cas=cas)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Returns a list that gets the result of a Deferred once it fires; the exception, if it fails."""
    results: list[Any] = []
    deferred.addBoth(lambda result: results.append(result.value if isinstance(result, Failure) else result))
    return results


def lone_grape(network: MemoryNetwork, at: str = "10.0.0.1", **keywords: Any) -> Grape:
    """Starts a grape on a host of the network."""
    grape = Grape(reactor=network.reactor(at), dice=random.Random(f"{at} {keywords}"), **keywords)
    grape.startService()
    return grape
