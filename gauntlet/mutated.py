"""Sends one grape a million mutated datagrams and a hundred thousand mutated HTTP requests."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import OrderedDict
from contextlib import ExitStack, suppress

from gauntlet.client import Client, ClientError
from gauntlet.machine import HOST
from gauntlet.mutations import Datagrams, Requests
from gauntlet.processes import GrapeProcess, complaints, lone_grape
from gauntlet.row import Finding, Row, Run, judge
from gauntlet.wire import Peer

WARM_UP = 0.05
BURST = 100
# A socket's buffer is 208 KiB unless set, and the kernel counts about this overhead for each datagram.
BURST_BYTES = 130_000
OVERHEAD_BYTES = 1_000
SENDERS = 8
OPEN_CONNECTIONS = 200
MIB = 2**20
GROWTH_BYTES = 16 * MIB
MAX_DATAGRAM_BYTES = 1_400
# SO_LINGER for a reset at close: no port stays in TIME_WAIT for a minute.
RESET = struct.pack("ii", 1, 0)


class DatagramFlood:
    """Sends mutated datagrams in bursts, each followed by a ping that must be answered."""

    def __init__(self, grape: GrapeProcess, stack: ExitStack) -> None:
        self._grape = grape
        self._source = Datagrams(seed=1)
        self._peers = [stack.enter_context(Peer()) for _ in range(SENDERS)]
        self._pinger = stack.enter_context(Peer())
        self.sent = self.unanswered = 0

    @property
    def largest(self) -> int:
        """The size in bytes of the longest datagram that came back."""
        return max(peer.largest for peer in self._peers)

    def send(self, number: int, run: Run) -> None:
        """Sends so many more."""
        port, end, following = self._grape.ports.dht, self.sent + number, self._source.next
        while self.sent < end and self.unanswered < 5:
            peer = self._peers[self.sent // BURST % SENDERS]
            left = BURST_BYTES
            for _ in range(min(BURST, end - self.sent)):
                datagram = following()
                peer.send(port, datagram)
                self.sent += 1
                left -= len(datagram) + OVERHEAD_BYTES
                if left < 0:
                    break
            peer.drain()
            # One ping may be lost like any datagram, but not three in a row.
            if not any(self._pinger.is_answered(port, 1.0) for _ in range(3)):
                self.unanswered += 1
            if self.sent % 20_000 < BURST:
                run.say(f"{self.sent:,} datagrams")


class RequestFlood:
    """Sends mutated requests, each over its own connection; 200 connections are open at a time."""

    def __init__(self, grape: GrapeProcess) -> None:
        self._port = grape.ports.api
        self._source = Requests(self._port, seed=1)
        self._open: OrderedDict[int, socket.socket] = OrderedDict()
        self._poll = select.poll()
        self.sent = self.answered = self.refused = self.unanswered = 0

    def send(self, number: int, run: Run) -> None:
        """Sends so many more."""
        end = self.sent + number
        while self.sent < end and self.refused < 100 and self.unanswered < 5:
            self._send_one(self._source.next())
            self.sent += 1
            if self.sent % 16 == 0:
                self._receive()
            while len(self._open) > OPEN_CONNECTIONS:
                self._close(next(iter(self._open)))
            if self.sent % 500 == 0:
                self._check()
                run.say(f"{self.sent:,} requests")

    def close(self) -> None:
        """Closes all connections."""
        for number in list(self._open):
            self._close(number)

    def _send_one(self, octets: bytes) -> None:
        try:
            connection = socket.create_connection((HOST, self._port), 5.0)
        except OSError:
            self.refused += 1
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.setblocking(False)
        with suppress(OSError):
            connection.send(octets)
        self._open[connection.fileno()] = connection
        self._poll.register(connection, select.POLLIN)

    def _receive(self) -> None:
        for number, _ in self._poll.poll(0):
            try:
                octets = self._open[number].recv(65_536)
            except OSError:
                octets = b""
            self.answered += bool(octets)
            self._close(number)

    def _close(self, number: int) -> None:
        self._poll.unregister(number)
        self._open.pop(number).close()

    def _check(self) -> None:
        """Counts a valid lookup that is not answered."""
        try:
            with Client(self._port, seconds=5.0) as client:
                client.call("lookup", f"gauntlet:{self.sent}")
        except (OSError, ClientError):
            self.unanswered += 1


def mutated(run: Run) -> Finding:
    """Sends both to one grape, and compares its memory after 5 % of them with that at the end."""
    total, total_requests = run.size(1_000_000, 20_000), run.size(100_000, 2_000)
    with lone_grape() as grape, ExitStack() as stack:
        datagrams, requests = DatagramFlood(grape, stack), RequestFlood(grape)
        stack.callback(requests.close)
        datagrams.send(int(total * WARM_UP), run)
        requests.send(int(total_requests * WARM_UP), run)
        time.sleep(0.2)
        before, began = grape.rss(), time.monotonic()
        datagrams.send(total - datagrams.sent, run)
        middle = time.monotonic()
        requests.send(total_requests - requests.sent, run)
        end = time.monotonic()
        requests.close()
        time.sleep(0.5)
        alive = grape.alive and datagrams.unanswered == 0 and requests.unanswered == 0
        growth = grape.rss() - before if grape.alive else 0
        dropped = grape.dropped() if grape.alive else 0
        bad = complaints([grape])
    figures: dict[str, float | int | str] = {
        "datagrams": datagrams.sent,
        "datagrams a second": round(datagrams.sent * (1 - WARM_UP) / (middle - began)),
        "dropped by the kernel": dropped,
        "requests": requests.sent,
        "requests a second": round(requests.sent * (1 - WARM_UP) / (end - middle)),
        "answered": requests.answered,
        "pings unanswered": datagrams.unanswered,
        "lookups unanswered": requests.unanswered,
        "errors logged": len(bad),
        "RSS before MiB": round(before / MIB, 1),
        "growth MiB": round(growth / MIB, 1),
        "largest response": datagrams.largest,
    }
    if bad:
        figures["such as"] = bad[0][:200]
    goals = {
        "alive": alive,
        "all sent": datagrams.sent == total and requests.sent == total_requests and requests.refused == 0,
        "fewer than 1 % dropped by the kernel": dropped < total / 100,
        "no error logged": not bad,
        "memory grows by <= 16 MiB": growth <= GROWTH_BYTES,
        "responses <= 1,400 bytes": datagrams.largest <= MAX_DATAGRAM_BYTES,
    }
    return judge(figures, goals)


ROWS = (
    Row(
        "mutated",
        "1,000,000 mutated datagrams, 100,000 mutated HTTP requests (short: a fiftieth)",
        "alive, no error logged, memory grows by at most 16 MiB after the first 5 %",
        mutated,
    ),
)
