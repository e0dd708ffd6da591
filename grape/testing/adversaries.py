"""Provides hostile nodes for simulated networks: mirrors, liars and Sybils."""

from __future__ import annotations

import random

from twisted.internet.protocol import DatagramProtocol

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address, encode_nodes, encode_peer
from grape.dht.errors import RemoteProtocolError
from grape.dht.lookup import MAX_NODES_PER_RESPONSE
from grape.dht.messages import Query
from grape.dht.nodeid import ID_BYTES, position
from grape.krpc.searches import MAX_VALUES_PER_RESPONSE
from grape.reactor import Clock


class Mirror(DatagramProtocol):
    """Sends every datagram back to its sender."""

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Returns the datagram to ``addr``."""
        if self.transport is not None:
            self.transport.write(datagram, addr)


class Liar(DatagramProtocol):
    """Answers every query with fake nodes close to the target and with fake peers, as many as a grape accepts.

    ``reactor`` gives it timers and ``dice`` its randomness. It queries the address ``join`` each minute, so that it
    gets into routing tables. With ``near``, a key, its node id shares 24 bits with that key: a Sybil.
    """

    noisy = False

    def __init__(self, reactor: Clock, dice: random.Random, join: Address, near: bytes | None = None) -> None:
        self._reactor = reactor
        self._dice = dice
        self._join = join
        self.node_id = close_id(near, dice, 24) if near is not None else dice.randbytes(ID_BYTES)

    def startProtocol(self) -> None:
        """Queries ``join``, and does so again each minute."""
        arguments: dict[bytes, BValue] = {b"id": self.node_id, b"target": self.node_id}
        self._write(krpc.encode_query(self._dice.randbytes(2), b"find_node", arguments), self._join)
        self._reactor.callLater(60, self.startProtocol)

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Answers a query; ignores anything else."""
        try:
            query = krpc.decode(datagram)
        except RemoteProtocolError:
            return
        if not isinstance(query, Query):
            return
        values: dict[bytes, BValue] = {b"id": self.node_id}
        key = query.arguments.get(b"target") or query.arguments.get(b"info_hash")
        if query.method != b"ping" and isinstance(key, bytes):
            values[b"nodes"] = encode_nodes(
                (close_id(key, self._dice, 60), self._fake_address()) for _ in range(MAX_NODES_PER_RESPONSE)
            )
            values[b"token"] = self._dice.randbytes(8)
        if query.method == b"get_peers":
            values[b"values"] = [encode_peer(self._fake_address()) for _ in range(MAX_VALUES_PER_RESPONSE)]
        self._write(krpc.encode_response(query.transaction_id, values, encode_peer(addr)), addr)

    def _fake_address(self) -> Address:
        return f"192.0.2.{self._dice.randrange(1, 255)}", self._dice.randrange(1, 65_536)

    def _write(self, datagram: bytes, address: Address) -> None:
        if self.transport is not None:
            self.transport.write(datagram, address)


def close_id(key: bytes, dice: random.Random, bits: int) -> bytes:
    """Returns a random node id (20 bytes) that shares at least the first ``bits`` bits with a key."""
    noise = int.from_bytes(dice.randbytes(ID_BYTES), "big") >> bits
    return (position(key) ^ noise).to_bytes(ID_BYTES, "big")
