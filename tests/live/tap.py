"""Counts the KRPC messages on the loopback interface, each once, by what the kernel delivers there."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from threading import Thread
from typing import Self

from grape.dht.bencoding import decode_leniently

ETH_P_IP = 0x0800
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 64 * 1024 * 1024

Count = Counter[tuple[int, str, str]]


class Tap:
    """Counts the messages from and to UDP ports of 127.0.0.1. Raises PermissionError without the right to listen.

    The counts are by port, method and what happened: for queries that came to the port "received", "answered" and
    "refused" (with an error); for those that left it "sent", "got_answer" and "got_error". ``datagrams`` are all, by
    port and "in" or "out".
    """

    def __init__(self, ports: list[int]) -> None:
        self.counts: Count = Counter()
        self.datagrams: Counter[tuple[int, str]] = Counter()
        self.latest = time.monotonic()
        self._ports = frozenset(ports)
        # The methods of queries by asker, asked port and transaction id.
        self._asked: dict[tuple[int, int, bytes], str] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._socket.bind(("lo", ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        # Each packet comes by loopback twice: when it is sent and when it is received.
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.settimeout(0.05)
        self._ends = False
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ends = True
        self._reader.join()
        self._socket.close()

    @property
    def lost(self) -> int:
        """The number of packets that the tap missed since this was last asked."""
        _, drops = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        return int(drops)

    def of(self, port: int) -> dict[tuple[str, str], int]:
        """Returns the counts of one port by method and what happened."""
        return {(method, what): number for (at, method, what), number in self.counts.items() if at == port}

    def _read(self) -> None:
        while not self._ends:
            try:
                packet = self._socket.recv(65_536)
            except TimeoutError:
                continue
            header = (packet[0] & 15) * 4
            if packet[9] == socket.IPPROTO_UDP:
                source, target = struct.unpack_from("!HH", packet, header)
                if source in self._ports or target in self._ports:
                    self.latest = time.monotonic()
                    self.datagrams[source, "out"] += 1
                    self.datagrams[target, "in"] += 1
                    self._count(source, target, packet[header + 8 :])

    def _count(self, source: int, target: int, datagram: bytes) -> None:
        try:
            message = decode_leniently(datagram)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        kind, number, method = message.get(b"y"), message.get(b"t"), message.get(b"q")
        assert isinstance(number, bytes)
        if kind == b"q" and isinstance(method, bytes) and isinstance(message.get(b"a"), dict):
            name = method.decode()
            self._asked[source, target, number] = name
            self.counts[source, name, "sent"] += 1
            self.counts[target, name, "received"] += 1
        elif kind in (b"r", b"e"):
            asked = self._asked.pop((target, source, number), None)
            if asked is not None:
                self.counts[source, asked, "answered" if kind == b"r" else "refused"] += 1
                self.counts[target, asked, "got_answer" if kind == b"r" else "got_error"] += 1
