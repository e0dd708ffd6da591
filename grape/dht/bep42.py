"""Makes and checks node ids that are bound to an IPv4 address (BEP 42), so that a host cannot choose its position.

Under 60 lines: it is BEP 42 alone.
"""

from __future__ import annotations

from grape.dht.nodeid import ID_BYTES, RandomBytes

_MASK = bytes((0x03, 0x0F, 0x3F, 0xFF))


def _castagnoli() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C = _castagnoli()


def crc32c(data: bytes) -> int:
    """Returns the CRC-32C (Castagnoli) checksum of ``data``."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc = (crc >> 8) ^ _CRC32C[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


def secure_id(host: str, random_bytes: RandomBytes, last: int | None = None) -> bytes:
    """Returns a 20-byte node id for an IPv4 address; ``last`` is the id's last byte, random by default."""
    end = random_bytes(1)[0] if last is None else last
    crc = _checksum(host, end)
    middle = random_bytes(ID_BYTES - 3)
    return (
        bytes((crc >> 24 & 0xFF, crc >> 16 & 0xFF, (crc >> 8 & 0xF8) | (middle[0] & 0x07))) + middle[1:] + bytes((end,))
    )


def is_secure(node_id: bytes, host: str) -> bool:
    """Returns True if the first 21 bits of a node id are the checksum of the IPv4 address ``host``."""
    crc = _checksum(host, node_id[-1])
    return node_id[0] == crc >> 24 & 0xFF and node_id[1] == crc >> 16 & 0xFF and node_id[2] & 0xF8 == crc >> 8 & 0xF8


def _checksum(host: str, end: int) -> int:
    octets = [int(octet) & mask for octet, mask in zip(host.split("."), _MASK, strict=True)]
    octets[0] |= (end & 0x07) << 5
    return crc32c(bytes(octets))
