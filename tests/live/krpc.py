"""Provides a DHT node that sends only what a test says: a UDP socket and bencode."""

from __future__ import annotations

from bencode2 import bencode

from gauntlet import wire
from gauntlet.wire import Message, decoded

ANSWER_SECONDS = 5.0


class Peer(wire.Peer):
    """Opens a UDP socket on loopback with a node id, and fails where nothing comes within five seconds."""

    def __init__(self, node_id: bytes = b"\x11" * 20) -> None:
        super().__init__(node_id=node_id)

    def query(self, port: int, method: bytes, seconds: float = ANSWER_SECONDS, /, **arguments: object) -> Message:
        """Sends a query and returns the answer. Raises TimeoutError."""
        answer = super().query(port, method, seconds, **arguments)
        if answer is None:
            raise TimeoutError(f"no answer to {method.decode()} within {seconds:g} s")
        return answer

    def serve(self, silent: bytes) -> Message:
        """Answers queries without nodes until one of the method ``silent`` comes; returns that one unanswered."""
        while (came := self.receive(ANSWER_SECONDS)) is not None:
            message, (_, port) = decoded(came[0]) or {}, came[1]
            if message.get(b"q") == silent:
                return message
            if message.get(b"y") == b"q":
                self.send(port, bencode({b"t": message[b"t"], b"y": b"r", b"r": {b"id": self.node_id, b"nodes": b""}}))
        raise TimeoutError(f"no {silent.decode()} within {ANSWER_SECONDS:g} s")
