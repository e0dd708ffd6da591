"""Asks a node of the DHT one question over UDP, without a grape: a KRPC query and its answer (BEP 5)."""

from __future__ import annotations

import os
import socket
import sys
import time

import attrs

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue, decode
from grape.dht.compact import Address, decode_peer
from grape.dht.errors import RemoteProtocolError
from grape.dht.nodeid import ID_BYTES

MAX_DATAGRAM_BYTES = 65_535
TRANSACTION_BYTES = 4
DEFAULT_PORT = 20_001
# From <linux/in.h>; Python before 3.14 does not name them.
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0


@attrs.frozen
class Reply:
    """The answer of a node.

    ``seconds`` is the round trip. ``values`` are its ``r`` dictionary, empty for an error, whose text is ``error``.
    ``version`` is the software as the node names it (``v``), ``seen_as`` the address that the query came from as the
    node saw it (``ip``, BEP 42); both None if it does not say.
    """

    address: Address
    transaction_id: bytes
    seconds: float
    values: dict[bytes, BValue]
    version: bytes | None = None
    seen_as: Address | None = None
    error: str | None = None

    @property
    def node_id(self) -> bytes | None:
        """The node's id; None if it gave none."""
        node_id = self.values.get(b"id")
        return node_id if isinstance(node_id, bytes) and len(node_id) == ID_BYTES else None


def resolve(text: str) -> list[Address]:
    """Returns all IPv4 addresses of HOST or HOST:PORT, 20001 without a port. Raises ValueError."""
    host, _, digits = text.rpartition(":") if ":" in text else (text, "", str(DEFAULT_PORT))
    if not host or not digits.isdecimal() or not 0 < int(digits) < 2**16:
        raise ValueError(f"{text!r} is not HOST:PORT, with a port from 1 to 65535")
    try:
        found = socket.getaddrinfo(host, int(digits), socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise ValueError(f"{host} cannot be resolved to an IPv4 address: {reason}") from error
    return list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in found))


def ask(
    address: Address,
    method: bytes = b"ping",
    arguments: dict[bytes, BValue] | None = None,
    seconds: float = 2.0,
    *,
    is_anonymous: bool = False,
) -> Reply | None:
    """Sends a query from a port of its own, read-only so that nobody lists it. Returns None if nothing answers.

    A Node grape lists whoever has an id, read-only or not: with ``is_anonymous`` the id is empty at first, and a random
    one is used if the node refuses that, or has not answered after half of the time. Raises OSError if the query cannot
    be sent, ConnectionRefusedError if no process listens there.
    """
    begun = time.monotonic()
    anonymous = [(b"", begun + seconds / 2)] if is_anonymous else []
    sent: dict[bytes, float] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        if sys.platform == "linux":
            # As grapes do: a router may fragment a datagram that is too large for its link.
            opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        # Connected: answers of others are not received, and an ICMP error is told.
        opened.connect(address)
        for node_id, end in (*anonymous, (os.urandom(ID_BYTES), begun + seconds)):
            transaction_id = os.urandom(TRANSACTION_BYTES)
            values: dict[bytes, BValue] = {b"id": node_id, **(arguments or {})}
            query = krpc.encode_query(transaction_id, method, values, read_only=True)
            # Before it is sent: on one host, the answer may come before ``send`` returns.
            sent[transaction_id] = time.monotonic()
            opened.send(query)
            while (reply := _received(opened, address, sent, end)) is not None:
                if reply.error is None or (node_id and reply.transaction_id == transaction_id):
                    return reply
                if not node_id:
                    break
    return None


def _received(opened: socket.socket, address: Address, sent: dict[bytes, float], end: float) -> Reply | None:
    """Returns the next reply to one of the queries that were ``sent``; None if there is none before ``end``."""
    while (left := end - time.monotonic()) > 0:
        opened.settimeout(left)
        try:
            datagram = opened.recv(MAX_DATAGRAM_BYTES)
        except TimeoutError:
            return None
        reply = _reply(datagram, address, sent)
        if reply is not None:
            return reply
    return None


def _reply(datagram: bytes, address: Address, sent: dict[bytes, float]) -> Reply | None:
    try:
        message = krpc.decode(datagram)
        outside, _ = decode(datagram)
    except (RemoteProtocolError, ValueError):
        return None
    if isinstance(message, krpc.Query) or not isinstance(outside, dict):
        return None
    transaction_id = message.transaction_id
    if not isinstance(transaction_id, bytes) or transaction_id not in sent:
        return None
    version, seen = outside.get(b"v"), outside.get(b"ip")
    return Reply(
        address,
        transaction_id,
        time.monotonic() - sent[transaction_id],
        message.values if isinstance(message, krpc.Response) else {},
        version if isinstance(version, bytes) else None,
        _seen_as(seen),
        f"{message.code} {message.message}" if isinstance(message, krpc.Error) else None,
    )


def _seen_as(compact: BValue | None) -> Address | None:
    if not isinstance(compact, bytes):
        return None
    try:
        return decode_peer(compact)
    except ValueError:
        return None
