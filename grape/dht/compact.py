"""Encodes and decodes compact peer and node info (BEP 5).

A peer is 4 bytes of IPv4 address and 2 bytes of port, a node its 20-byte id followed by these 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address
from typing import cast

from grape.dht.addresses import is_loopback, scope
from grape.dht.errors import LocalProtocolError
from grape.dht.nodeid import ID_BYTES

Address = tuple[str, int]

PEER_BYTES = 6
NODE_BYTES = ID_BYTES + PEER_BYTES

# Entries of each cache, and of the cache of whole ``nodes`` strings: some megabytes in all, whatever others send.
CACHED = 8_192
CACHED_NODES = 512


@lru_cache(maxsize=CACHED)
def encode_peer(address: Address) -> bytes:
    """Returns the six bytes of an IPv4 ``(host, port)``. Raises LocalProtocolError for anything else."""
    host, port = address
    try:
        octets = bytes(map(int, host.split(".")))
        if len(octets) != 4:
            raise ValueError(host)
        return octets + port.to_bytes(2, "big")
    except (ValueError, OverflowError) as error:
        raise LocalProtocolError(f"not an IPv4 address and port: {host}:{port}") from error


@lru_cache(maxsize=CACHED)
def encode_value(address: Address) -> bytes:
    """Returns an entry of a ``values`` list: the six bytes, bencoded."""
    return b"6:" + encode_peer(address)


@lru_cache(maxsize=CACHED)
def decode_peer(compact: bytes) -> Address:
    """Returns the ``(host, port)`` of six bytes. Port 0 is not refused: its meaning is for the caller to decide."""
    a, b, c, d, high, low = compact
    return f"{a}.{b}.{c}.{d}", (high << 8) | low


def is_ipv4(host: str) -> bool:
    """Returns True if ``host`` is a dotted IPv4 address."""
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=CACHED)
def _decode_value(value: bytes) -> Address | None:
    peer = decode_peer(value)
    return peer if peer[1] and scope(peer[0]) != "unusable" else None


@lru_cache(maxsize=CACHED)
def _decode_value_from_elsewhere(value: bytes) -> Address | None:
    peer = _decode_value(value)
    return None if peer is None or is_loopback(peer[0]) else peer


def decode_peers(values: object, count: int, told_by: str) -> list[Address]:
    """Returns the usable peers among the first ``count`` entries of a ``values`` list from the host ``told_by``.

    Each is returned once. Entries that are not six bytes, port 0, addresses that no node can have, and loopback
    addresses if ``told_by`` is none, are skipped, as is anything but a list.
    """
    peers: list[Address] = []
    if isinstance(values, list):
        decode = _decode_value if is_loopback(told_by) else _decode_value_from_elsewhere
        for value in values[:count]:
            # Checked before the cached call: a cache of what others send holds small keys alone.
            peer = decode(value) if isinstance(value, bytes) and len(value) == PEER_BYTES else None
            if peer is not None:
                peers.append(peer)
    return list(dict.fromkeys(peers)) if len(peers) > 1 else peers


@lru_cache(maxsize=CACHED_NODES)
def decode_nodes(nodes: bytes, own_id: bytes = b"") -> frozenset[tuple[bytes, Address]]:
    """Returns the ``(node id, (host, port))`` of each node in a ``nodes`` string.

    An incomplete last node, port 0 and the node ``own_id`` are skipped. Cached: in a small network all responses hold
    the same nodes.
    """
    ends = range(NODE_BYTES, len(nodes) + 1, NODE_BYTES)
    found = {_decode_node(nodes[end - NODE_BYTES : end]) for end in ends}
    found.discard(None)
    if own_id and own_id in nodes:
        return frozenset([node for node in found if node is not None and node[0] != own_id])
    return frozenset(cast("set[tuple[bytes, Address]]", found))


@lru_cache(maxsize=CACHED)
def _decode_node(compact: bytes) -> tuple[bytes, Address] | None:
    address = decode_peer(compact[ID_BYTES:])
    return (compact[:ID_BYTES], address) if address[1] else None


def encode_nodes(nodes: Iterable[tuple[bytes, Address]]) -> bytes:
    """Returns the ``nodes`` string of ``(node id, address)`` pairs."""
    return b"".join(node_id + encode_peer(address) for node_id, address in nodes)
