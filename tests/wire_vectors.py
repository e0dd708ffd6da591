"""Loads the recordings of the Node grape's datagrams, and sets up grapes to replay them on.

The grapes have the recorded addresses and node ids, so that what ours answer can be compared byte for byte.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.protocol import DatagramProtocol

from grape import Grape
from grape.dht import bencoding
from grape.dht.bencoding import BValue
from grape.dht.compact import Address
from grape.testing import MemoryNetwork

PATH = Path(__file__).parent / "vectors" / "wire-vectors.json"

HOST = "127.0.0.1"
A = (HOST, 21_301)
B = (HOST, 21_302)
C = (HOST, 21_303)
CLIENT = (HOST, 21_350)
ID_A = bytes.fromhex("8f8d4039486acb5cd6a14d52690a7b160845d6f3")
ID_B = bytes.fromhex("b81810cf2ec0a83df89893e5bfe11087ae0b3ef3")
WRONG_TOKEN = b"x" * 20

Members = dict[bytes, Any]


@attrs.frozen
class Packet:
    """A datagram with its source and destination: a letter for a grape, ``client`` or ``libtorrent``."""

    source: str
    destination: str
    datagram: bytes


@attrs.frozen
class Vector:
    """Recorded datagrams, in the order in which they were sent."""

    name: str
    packets: list[Packet]
    died: bool

    def __str__(self) -> str:
        return self.name

    @property
    def asked(self) -> bytes:
        """The first datagram."""
        return self.packets[0].datagram

    @property
    def answers(self) -> list[Members]:
        """The members of all other datagrams."""
        return [members(packet.datagram) for packet in self.packets[1:]]


def load() -> dict[str, Vector]:
    """Loads all recordings, by name."""
    return {
        entry["name"]: Vector(
            entry["name"],
            [Packet(_side(p["from"]), _side(p["to"]), bytes.fromhex(p["hex"])) for p in entry["packets"]],
            bool(entry.get("reference_process_died")),
        )
        for entry in json.loads(PATH.read_text())
    }


def of(*kinds: str) -> list[Vector]:
    """Returns the recordings of these kinds: the first part of their names."""
    return [vector for name, vector in load().items() if name.partition("/")[0] in kinds]


def decode(datagram: bytes) -> Members:
    """Decodes a datagram that is known to be a message."""
    message: Any = bencoding.decode(datagram)[0]
    assert isinstance(message, dict)
    return message


def members(datagram: bytes) -> Members:
    """Returns the members of a message in which two grapes must agree: no transaction id, version and ``ip``.

    Tokens are only there or not; values come in any order; ``nodes`` beside ``values`` or ``v`` are ours alone.
    """
    message = {name: value for name, value in decode(datagram).items() if name not in (b"t", b"v", b"ip")}
    for part in (b"a", b"r"):
        if isinstance(message.get(part), dict):
            message[part] = dict(message[part])
            if b"token" in message[part]:
                message[part][b"token"] = b"a token"
    values = message.get(b"r", {})
    if b"values" in values:
        values[b"values"] = sorted(values[b"values"])
    if b"values" in values or b"v" in values:
        values.pop(b"nodes", None)
    return message


class Dice(random.Random):
    """Seeded randomness, except that the first 20 bytes drawn, the node id, are given."""

    first: bytes | None = None

    def randbytes(self, n: int) -> bytes:
        if self.first is not None:
            first, self.first = self.first, None
            return first
        return super().randbytes(n)


class Client(DatagramProtocol):
    """A socket that records the datagrams it receives."""

    noisy = False

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self.heard: list[bytes] = []
        self._network = network
        network.reactor(address[0]).listenUDP(address[1], self)

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.heard.append(datagram)

    def exchange(self, datagram: bytes, address: Address) -> list[bytes]:
        """Sends a datagram; returns what comes back within 0.1 s, except queries."""
        self.heard.clear()
        assert self.transport is not None
        self.transport.write(datagram, address)
        self._network.clock.advance(0.1)
        return [answer for answer in self.heard if decode(answer)[b"y"] != b"q"]

    def token(self, address: Address) -> bytes:
        """Asks a grape for a token."""
        (answer,) = self.exchange(b"d1:ad2:id5:asker9:info_hash1:xe1:q9:get_peers1:t2:tt1:y1:qe", address)
        token: BValue = decode(answer)[b"r"][b"token"]
        assert isinstance(token, bytes)
        return token


def fresh(datagram: bytes, token: bytes) -> bytes:
    """Returns a recorded query with a valid token in place of its own, unless that was wrong or missing."""
    arguments = decode(datagram).get(b"a") if datagram[:4] == b"d1:a" else None
    old = arguments.get(b"token") if isinstance(arguments, dict) else None
    if not isinstance(old, bytes) or old == WRONG_TOKEN:
        return datagram
    return datagram.replace(b"5:token%d:%b" % (len(old), old), b"5:token%d:%b" % (len(token), token))


def start(network: MemoryNetwork, at: Address, node_id: bytes | None = None, **keywords: Any) -> Grape:
    """Starts a grape at a recorded address, with the recorded node id."""
    dice = Dice(f"{at}")
    dice.first = node_id
    grape = Grape(reactor=network.reactor(at[0]), dht_port=at[1], dice=dice, **keywords)
    grape.startService()
    return grape


def _side(name: str) -> str:
    if name.startswith("libtorrent"):
        return "libtorrent"
    return "client" if name == "test client" else name.removeprefix("grape").strip() or "grape"
