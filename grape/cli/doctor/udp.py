"""Asks nodes over UDP what a doctor wants to know: pings small and large, whom they list, how long they list peers.

Nobody is to list the process that asks: queries are read-only (BEP 43), and as a Node grape lists whoever has an id,
they name none at first; other software may answer only one that does. A query is sent twice, as it may be lost.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from grape.cli.asking import TRANSACTION_BYTES, Reply, ask
from grape.cli.doctor.facts import ANSWERED, REFUSED, SILENT, UNSENT, Kept, Probe
from grape.dht.bencoding import BValue
from grape.dht.compact import NODE_BYTES, Address, decode_nodes
from grape.dht.messages import CLIENT_VERSION, encode_query

TRIES = 2
# A large datagram is fragmented on a path with a small MTU, so that more of it can be lost.
LARGE_TRIES = 3
#: Below what a path of Ethernet takes in one piece (1,472 bytes), and above the largest reply of a grape.
LARGE_BYTES = 1_400
# A length of four digits takes three bytes more than one.
_PADDING_BYTES = (
    LARGE_BYTES
    - 3
    - len(encode_query(bytes(TRANSACTION_BYTES), b"ping", {b"id": b"", b"padding": b""}, read_only=True))
)
TCP_SECONDS = 1.0
#: Of what is announced, only to see whether it is listed.
PEER_PORT = 9
# How close the ages of two peers are to a grape's limit, below and above it.
MARGIN_SECONDS = 20.0
MARGIN_SHARE = 0.1
# Ages above a day are ignored.
MAX_AGE_SECONDS = 86_399.0
SEARCH_STEPS = 7


def text_of(address: Address) -> str:
    """Returns an address as "host:port"."""
    return f"{address[0]}:{address[1]}"


def query(
    address: Address,
    seconds: float,
    method: bytes = b"ping",
    arguments: dict[bytes, BValue] | None = None,
    tries: int = TRIES,
) -> tuple[str, str | None, Reply | None]:
    """Sends a query; returns the outcome, as ``facts`` names it, what the system said, and the reply."""
    outcome, problem = SILENT, None
    anonymous: dict[bytes, BValue] = {b"id": b"", **(arguments or {})}
    for number in range(tries):
        try:
            reply = ask(address, method, arguments if number else anonymous, seconds)
        except ConnectionRefusedError:
            outcome = REFUSED
        except OSError as error:
            outcome, problem = UNSENT, error.strerror or str(error)
        else:
            if reply is not None and (reply.error is None or number):
                return ANSWERED, None, reply
    return outcome, problem, None


def is_ours(reply: Reply | None) -> bool:
    """Returns True if a reply names the software of this project."""
    return reply is not None and reply.version is not None and reply.version[:2] == CLIENT_VERSION[:2]


def ping(address: Address, seconds: float) -> Probe:
    """Pings a node."""
    outcome, problem, reply = query(address, seconds)
    node_id = reply.node_id.hex() if reply is not None and reply.node_id is not None else None
    return Probe(text_of(address), outcome, problem, node_id, is_ours(reply))


def answers_large(address: Address, seconds: float) -> bool:
    """Returns True if a ping of LARGE_BYTES is answered."""
    return query(address, seconds, b"ping", {b"padding": bytes(_PADDING_BYTES)}, LARGE_TRIES)[0] == ANSWERED


def nodes_near(
    address: Address, target: bytes, seconds: float
) -> tuple[str, Reply | None, list[tuple[bytes, Address]]]:
    """Asks a node for those that it lists close to an id; returns the outcome, the reply and (id, address) of each."""
    outcome, _, reply = query(address, seconds, b"find_node", {b"target": target})
    nodes = reply.values.get(b"nodes") if reply is not None else None
    if not isinstance(nodes, bytes) or len(nodes) % NODE_BYTES:
        return outcome, reply, []
    return outcome, reply, list(decode_nodes(nodes))


def announce(address: Address, key: bytes, age: float, seconds: float) -> bool:
    """Announces a peer that is ``age`` seconds old, at one node; returns True if the node took it."""
    _, _, reply = query(address, seconds, b"get_peers", {b"info_hash": key})
    token = reply.values.get(b"token") if reply is not None else None
    if token is None:
        return False
    arguments: dict[bytes, BValue] = {b"info_hash": key, b"port": PEER_PORT, b"token": token}
    if age > 0:
        arguments[b"age"] = int(age * 1_000)
    _, _, reply = query(address, seconds, b"announce_peer", arguments)
    return reply is not None and reply.error is None


def lists_peer_of_age(address: Address, age: float, seconds: float) -> bool | None:
    """Returns True if a node lists a peer that is announced with an age; None if it answers nothing."""
    key = new_name().encode()
    if not announce(address, key, age, seconds):
        return None
    _, _, reply = query(address, seconds, b"get_peers", {b"info_hash": key})
    if reply is None:
        return None
    values = reply.values.get(b"values")
    return isinstance(values, list) and bool(values)


def kept(address: Address, max_age: float, seconds: float) -> Kept | None:
    """Finds out whether a node lists peers as long as a grape does whose limit is ``max_age``, which is not 0.

    Returns None if it answers nothing. What is announced for that expires within MARGIN_SECONDS where the limit is the
    same.
    """
    margin = min(MARGIN_SECONDS, max_age * MARGIN_SHARE)
    younger = lists_peer_of_age(address, min(max_age - margin, MAX_AGE_SECONDS), seconds)
    older = max_age + margin
    keeps_older = lists_peer_of_age(address, older, seconds) if younger and older <= MAX_AGE_SECONDS else False
    if younger is None or keeps_older is None:
        return None
    return Kept(younger, keeps_older, None if younger else _searched(address, max_age - margin, seconds))


def _searched(address: Address, high: float, seconds: float) -> float | None:
    """Returns about how long a node lists a peer, which is less than ``high``."""
    low = 0.0
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        lists = lists_peer_of_age(address, middle, seconds)
        if lists is None:
            return None
        low, high = (middle, high) if lists else (low, middle)
    return (low + high) / 2


def new_name() -> str:
    """Returns a name of a service that nobody else has."""
    return f"grape-doctor:{os.urandom(8).hex()}"


def by_tcp(address: Address) -> str | None:
    """Returns what answers at a port by TCP: "HTTP", "TCP", or None."""
    try:
        with socket.create_connection(address, TCP_SECONDS) as opened:
            with suppress(OSError):
                opened.sendall(b"GET /livez HTTP/1.0\r\nHost: %b:%d\r\n\r\n" % (address[0].encode(), address[1]))
                if opened.recv(5) == b"HTTP/":
                    return "HTTP"
            return "TCP"
    except OSError:
        return None


def is_of_this_machine(host: str) -> bool:
    """Returns True if an IPv4 address is one of this machine's, or a loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        try:
            opened.bind((host, 0))
        except OSError:
            return False
    return True
