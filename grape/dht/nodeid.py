"""Computes positions of node ids and keys, and the distance between them.

A node id is 20 bytes (BEP 5). A key is looked up: a BEP 44 target or an info-hash. Grenache sends the raw bytes of a
service's name as info-hash, so keys have any length. The distance, as measured on the Node grape, is the XOR over the
first ``min(20, len(key))`` bytes. Ids that are equal there tie for the reference; here the missing bytes of a short
key count as zero, so that all nodes order a tie alike.

Under 60 lines: all of the arithmetic on ids, which most modules of the core import.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

ID_BYTES = 20
ID_BITS = ID_BYTES * 8
# About a megabyte, whatever others send.
CACHED_POSITIONS = 4_096

RandomBytes = Callable[[int], bytes]


def position(key: bytes) -> int:
    """Returns the first 20 bytes of a node id or key, padded with zeros, as an integer.

    The distance of two positions is their XOR (``^``).
    """
    missing = ID_BYTES - len(key)
    if missing > 0:
        return int.from_bytes(key) << 8 * missing
    return int.from_bytes(key[:ID_BYTES] if missing else key)


#: ``position`` with a cache, for what is looked up again and again: called with the first 20 bytes of a key alone, as a
#: cache of what others send holds small keys.
cached_position = lru_cache(maxsize=CACHED_POSITIONS)(position)


def distance(node_id: bytes, key: bytes) -> int:
    """Returns the Kademlia distance of a node id to a key of any length."""
    return position(node_id) ^ position(key)


def shared_bits(a: int, b: int) -> int:
    """Returns the number of leading bits that two positions have in common, 0 to 160."""
    return ID_BITS - (a ^ b).bit_length()


def random_id_sharing(own: int, bits: int, random_bytes: RandomBytes) -> bytes:
    """Returns a random id with exactly ``bits`` leading bits in common with the position ``own``.

    A lookup of it refreshes the bucket with that number (BEP 5). 160 bits give ``own`` itself.
    """
    noise = int.from_bytes(random_bytes(ID_BYTES), "big")
    if bits >= ID_BITS:
        return own.to_bytes(ID_BYTES, "big")
    tail = ID_BITS - bits - 1
    flipped = (own >> tail) ^ 1
    return ((flipped << tail) | (noise & ((1 << tail) - 1))).to_bytes(ID_BYTES, "big")
