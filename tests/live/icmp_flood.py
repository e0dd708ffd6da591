"""Sends forged ICMP messages to UDP sockets on loopback: ``python icmp_flood.py RATE PORT...``; needs root.

Each says that a query from one of the ports to another one found no process or no host there, and quotes a query with
a random transaction id. It prints "sending" once it has begun, and sends RATE messages a second until it is ended.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from itertools import permutations
from struct import pack, unpack

HOST = "127.0.0.1"
HOST_UNREACHABLE, PORT_UNREACHABLE = 1, 3
MESSAGES = 1_000
PAUSE_SECONDS = 0.0005


def message(source: int, destination: int, code: int) -> bytes:
    """Returns an ICMP message "destination unreachable" about a ping between two ports."""
    quoted = b"d1:ad2:id20:" + b"x" * 20 + b"e1:q4:ping1:t2:%b1:v4:GP\0\x011:y1:qe" % os.urandom(2)
    datagram = pack("!HHHH", source, destination, 8 + len(quoted), 0) + quoted
    here = socket.inet_aton(HOST)
    packet = pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0, here, here) + datagram
    body = pack("!HI", 0, 0) + packet
    return pack("!BBH", 3, code, _checksum(pack("!BB", 3, code) + body)) + body[2:]


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def main(rate: float, ports: list[int]) -> None:
    """Sends messages about all pairs of ports in turn."""
    pairs = list(permutations(ports, 2))
    messages = [
        message(*pairs[number // 2 % len(pairs)], (HOST_UNREACHABLE, PORT_UNREACHABLE)[number % 2])
        for number in range(MESSAGES)
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as opened:
        began, count = time.monotonic(), 0
        sys.stdout.write("sending\n")
        sys.stdout.flush()
        while True:
            while count < (time.monotonic() - began) * rate:
                opened.sendto(messages[count % MESSAGES], (HOST, 0))
                count += 1
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(float(sys.argv[1]), [int(port) for port in sys.argv[2:]])
