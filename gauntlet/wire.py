"""Provides a DHT node that is only a UDP socket and bencode, so that it can send anything."""

from __future__ import annotations

import random
import select
import socket
import time
from typing import Any, Self

from bencode2 import bdecode, bencode

from gauntlet.machine import HOST

MAX_DATAGRAM_BYTES = 65_535
NODE_BYTES = 26

Message = dict[bytes, Any]
Address = tuple[str, int]


class Peer:
    """Opens a UDP socket on loopback that sends and receives with a node id (20 bytes, random unless given).

    ``largest`` is the size in bytes of the longest datagram received so far.
    """

    def __init__(self, host: str = HOST, node_id: bytes | None = None) -> None:
        self.node_id = random.randbytes(20) if node_id is None else node_id
        self.largest = 0
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self._transaction = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    @property
    def node(self) -> str:
        """The address that a grape can join through: "host:port"."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def send(self, port: int, datagram: bytes) -> None:
        """Sends a datagram to a port of this machine, and waits while the socket's buffer is full."""
        while True:
            try:
                self.socket.sendto(datagram, (HOST, port))
            except BlockingIOError:
                select.select([], [self.socket], [], 1.0)
            except OSError:
                # The datagram is longer than UDP allows.
                return
            else:
                return

    def receive(self, seconds: float) -> tuple[bytes, Address] | None:
        """Returns the next datagram and its source; None if none comes within so many seconds."""
        ready, _, _ = select.select([self.socket], [], [], max(seconds, 0.0))
        if not ready:
            return None
        try:
            datagram, source = self.socket.recvfrom(MAX_DATAGRAM_BYTES)
        except BlockingIOError:
            return None
        self.largest = max(self.largest, len(datagram))
        return datagram, source

    def drain(self) -> int:
        """Discards the datagrams that have come, and returns how many there were."""
        count = 0
        while True:
            try:
                self.largest = max(self.largest, len(self.socket.recv(MAX_DATAGRAM_BYTES)))
            except OSError:
                return count
            count += 1

    def packet(self, method: bytes, transaction: bytes | None = None, /, **arguments: object) -> bytes:
        """Returns the datagram of a query in this node's name."""
        if transaction is None:
            transaction = self._next()
        return query(method, transaction, id=self.node_id, **arguments)

    def query(self, port: int, method: bytes, seconds: float = 2.0, /, **arguments: object) -> Message | None:
        """Sends a query and returns the answer; None if none comes within so many seconds. Ignores other datagrams."""
        transaction = self._next()
        self.send(port, self.packet(method, transaction, **arguments))
        end = time.monotonic() + seconds
        while (came := self.receive(end - time.monotonic())) is not None:
            message = decoded(came[0])
            if message is not None and message.get(b"t") == transaction and message.get(b"y") != b"q":
                return message
        return None

    def _next(self) -> bytes:
        self._transaction = (self._transaction + 1) % 2**32
        return self._transaction.to_bytes(4, "big")

    def is_answered(self, port: int, seconds: float = 2.0) -> bool:
        """Returns True if a grape answers a ping within so many seconds."""
        return self.query(port, b"ping", seconds) is not None

    def id_of(self, port: int) -> bytes:
        """Returns a grape's node id; b"" if it does not answer."""
        answer = self.query(port, b"ping")
        return b"" if answer is None else bytes(answer[b"r"][b"id"])

    def nodes(self, port: int, target: bytes) -> set[tuple[bytes, Address]]:
        """Returns the nodes, as (id, address), that a grape names as closest to a target."""
        answer = self.query(port, b"find_node", target=target)
        return set() if answer is None else compact_nodes(answer.get(b"r", {}).get(b"nodes", b""))


def query(method: bytes, transaction: bytes, /, **arguments: object) -> bytes:
    """Returns the datagram of a query."""
    named = {name.encode(): value for name, value in arguments.items()}
    return bencode({b"t": transaction, b"y": b"q", b"q": method, b"a": named})


def decoded(datagram: bytes) -> Message | None:
    """Decodes a datagram; None if it is no bencoded dictionary."""
    try:
        message = bdecode(datagram)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def compact_nodes(octets: bytes) -> set[tuple[bytes, Address]]:
    """Decodes compact node info (26 bytes a node, BEP 5) to (id, address)."""
    return {
        (entry[:20], (".".join(map(str, entry[20:24])), int.from_bytes(entry[24:], "big")))
        for entry in (octets[at : at + NODE_BYTES] for at in range(0, len(octets) - NODE_BYTES + 1, NODE_BYTES))
    }
