"""A DHT peer that is nothing but a UDP socket and bencode: what it sends is what the test says."""

from __future__ import annotations

import socket
from typing import Any, Self

from bencode2 import bdecode, bencode

from tests.live.processes import HOST

ANSWER_SECONDS = 5.0
MAX_DATAGRAM_BYTES = 65_535

Message = dict[bytes, Any]
Address = tuple[str, int]


class Peer:
    """A socket on loopback with a node id."""

    def __init__(self, node_id: bytes = b"\x11" * 20) -> None:
        self.node_id = node_id
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.settimeout(ANSWER_SECONDS)
        self._transaction = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    @property
    def node(self) -> str:
        return f"{HOST}:{self._socket.getsockname()[1]}"

    def send(self, port: int, datagram: bytes) -> None:
        self._socket.sendto(datagram, (HOST, port))

    def receive(self) -> tuple[Message, Address]:
        """The next datagram. Raises TimeoutError."""
        datagram, source = self._socket.recvfrom(MAX_DATAGRAM_BYTES)
        return bdecode(datagram), source

    def query(self, port: int, method: bytes, **arguments: object) -> Message:
        """The answer to a query; everything else that comes is passed over. Raises TimeoutError."""
        self._transaction += 1
        transaction = self._transaction.to_bytes(4, "big")
        self.send(port, bencode({b"t": transaction, b"y": b"q", b"q": method, b"a": {"id": self.node_id, **arguments}}))
        while True:
            message, _ = self.receive()
            if message.get(b"t") == transaction:
                return message

    def serve(self, silent: bytes) -> Message:
        """Answer queries with an empty result until one of method ``silent`` comes; it stays without an answer."""
        while True:
            message, (_, port) = self.receive()
            if message.get(b"q") == silent:
                return message
            if message.get(b"y") == b"q":
                self.send(port, bencode({b"t": message[b"t"], b"y": b"r", b"r": {b"id": self.node_id, b"nodes": b""}}))
