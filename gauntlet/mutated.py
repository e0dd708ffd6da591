"""A million broken datagrams and a hundred thousand broken requests at one grape."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import OrderedDict
from contextlib import ExitStack, suppress

from gauntlet.client import Client, ClientError
from gauntlet.mutations import Datagrams, Requests
from gauntlet.processes import HOST, GrapeProcess, complaints, lone_grape
from gauntlet.row import Finding, Row, Run, judge
from gauntlet.wire import Peer

WARM_UP = 0.05
BURST = 100
# What a socket holds without a setting of its own is 208 KiB, and what the kernel counts for each datagram beside it.
BURST_BYTES = 130_000
OVERHEAD_BYTES = 1_000
SENDERS = 8
OPEN_CONNECTIONS = 200
MIB = 2**20
GROWTH_BYTES = 16 * MIB
MAX_DATAGRAM_BYTES = 1_400
# A connection that is closed by a reset leaves no port behind that cannot be used for a minute.
RESET = struct.pack("ii", 1, 0)


class Barrage:
    """Datagrams in bursts, each followed by a ping that has to be answered."""

    def __init__(self, grape: GrapeProcess, stack: ExitStack) -> None:
        self._grape = grape
        self._source = Datagrams(seed=1)
        self._peers = [stack.enter_context(Peer()) for _ in range(SENDERS)]
        self._pinger = stack.enter_context(Peer())
        self.sent = self.unanswered = 0

    @property
    def largest(self) -> int:
        """Bytes of the longest datagram that came back."""
        return max(peer.largest for peer in self._peers)

    def send(self, number: int, run: Run) -> None:
        """So many more."""
        port, end, following = self._grape.ports.dht, self.sent + number, self._source.next
        while self.sent < end and self.unanswered < 5:
            peer = self._peers[self.sent // BURST % SENDERS]
            room = BURST_BYTES
            for _ in range(min(BURST, end - self.sent)):
                datagram = following()
                peer.send(port, datagram)
                self.sent += 1
                room -= len(datagram) + OVERHEAD_BYTES
                if room < 0:
                    break
            peer.drain()
            # A ping may get lost like any datagram; three in a row do not.
            if not any(self._pinger.is_answered(port, 1.0) for _ in range(3)):
                self.unanswered += 1
            if self.sent % 20_000 < BURST:
                run.say(f"{self.sent:,} datagrams")


class FairShares:
    """Requests on connections of their own, of which some hundred are open at a time."""

    def __init__(self, grape: GrapeProcess) -> None:
        self._port = grape.ports.api
        self._source = Requests(self._port, seed=1)
        self._open: OrderedDict[int, socket.socket] = OrderedDict()
        self._poll = select.poll()
        self.sent = self.answered = self.refused = self.unanswered = 0

    def send(self, number: int, run: Run) -> None:
        """So many more."""
        end = self.sent + number
        while self.sent < end and self.refused < 100 and self.unanswered < 5:
            self._one(self._source.next())
            self.sent += 1
            if self.sent % 16 == 0:
                self._hear()
            while len(self._open) > OPEN_CONNECTIONS:
                self._close(next(iter(self._open)))
            if self.sent % 500 == 0:
                self._check()
                run.say(f"{self.sent:,} requests")

    def close(self) -> None:
        for number in list(self._open):
            self._close(number)

    def _one(self, octets: bytes) -> None:
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

    def _hear(self) -> None:
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
        """A whole request has to be answered all the while."""
        try:
            with Client(self._port, seconds=5.0) as client:
                client.call("lookup", f"gauntlet:{self.sent}")
        except (OSError, ClientError):
            self.unanswered += 1


def mutated(run: Run) -> Finding:
    """Both, at one process."""
    datagrams, requests = run.size(1_000_000, 20_000), run.size(100_000, 2_000)
    with lone_grape() as grape, ExitStack() as stack:
        barrage, crowd = Barrage(grape, stack), FairShares(grape)
        stack.callback(crowd.close)
        barrage.send(int(datagrams * WARM_UP), run)
        crowd.send(int(requests * WARM_UP), run)
        time.sleep(0.2)
        before, began = grape.rss(), time.monotonic()
        barrage.send(datagrams - barrage.sent, run)
        middle = time.monotonic()
        crowd.send(requests - crowd.sent, run)
        end = time.monotonic()
        crowd.close()
        time.sleep(0.5)
        alive = grape.alive and barrage.unanswered == 0 and crowd.unanswered == 0
        growth = grape.rss() - before if grape.alive else 0
        dropped = grape.dropped() if grape.alive else 0
        bad = complaints([grape])
    figures: dict[str, float | int | str] = {
        "datagrams": barrage.sent,
        "a second": round(barrage.sent * (1 - WARM_UP) / (middle - began)),
        "lost in the kernel": dropped,
        "requests": crowd.sent,
        "requests a second": round(crowd.sent * (1 - WARM_UP) / (end - middle)),
        "answered": crowd.answered,
        "pings unanswered": barrage.unanswered,
        "lookups unanswered": crowd.unanswered,
        "errors logged": len(bad),
        "RSS before MiB": round(before / MIB, 1),
        "growth MiB": round(growth / MIB, 1),
        "largest reply": barrage.largest,
    }
    if bad:
        figures["such as"] = bad[0][:200]
    goals = {
        "alive": alive,
        "all sent": barrage.sent == datagrams and crowd.sent == requests and crowd.refused == 0,
        "fewer than 1 % lost on the way": dropped < datagrams / 100,
        "no error logged": not bad,
        "RSS within 16 MiB": growth <= GROWTH_BYTES,
        "replies <= 1,400 bytes": barrage.largest <= MAX_DATAGRAM_BYTES,
    }
    return judge(figures, goals)


ROWS = (
    Row(
        "mutated",
        "1,000,000 mutated datagrams, 100,000 mutated HTTP requests (short: a fiftieth)",
        "alive, no error logged, RSS within 16 MiB of that after 5 %",
        mutated,
    ),
)
