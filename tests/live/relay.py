"""A UDP relay on loopback that delays what it passes on: a distant node without a network in between."""

from __future__ import annotations

import heapq
import selectors
import socket
import threading
import time
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Self

from tests.live.processes import HOST

MAX_DATAGRAM_BYTES = 65_535
POLL_SECONDS = 0.05


class Relay:
    """Passes datagrams between whoever sends to ``node`` and a port, each after half of ``round_trip`` seconds.

    The node behind it sees each sender at a socket of the relay's own, as through a NAT router.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        self._target = (HOST, port)
        self._delay = round_trip / 2
        self._selector = selectors.DefaultSelector()
        self._outside = self._open()
        # For each sender the socket by which the node behind the relay knows it, and back.
        self._inside: dict[tuple[str, int], socket.socket] = {}
        self._senders: dict[socket.socket, tuple[str, int]] = {}
        self._waiting: list[tuple[float, int, socket.socket, tuple[str, int], bytes]] = []
        self._order = count()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._selector.close()
        for opened in (self._outside, *self._senders):
            opened.close()

    @property
    def node(self) -> str:
        """The address that stands for the node behind the relay."""
        return f"{HOST}:{self._outside.getsockname()[1]}"

    def _open(self) -> socket.socket:
        opened = socket.socket(type=socket.SOCK_DGRAM)
        opened.bind((HOST, 0))
        opened.setblocking(False)
        self._selector.register(opened, selectors.EVENT_READ)
        return opened

    def _run(self) -> None:
        while not self._stopped.is_set():
            due = self._waiting[0][0] - time.monotonic() if self._waiting else POLL_SECONDS
            for key, _ in self._selector.select(max(min(due, POLL_SECONDS), 0)):
                opened = key.fileobj
                assert isinstance(opened, socket.socket)
                # A closed port behind the relay shows as an error of the next read.
                with suppress(OSError):
                    self._take(opened, *opened.recvfrom(MAX_DATAGRAM_BYTES))
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, _, by, to, datagram = heapq.heappop(self._waiting)
                with suppress(OSError):
                    by.sendto(datagram, to)

    def _take(self, opened: socket.socket, datagram: bytes, source: tuple[str, int]) -> None:
        if opened is self._outside:
            by = self._inside.get(source)
            if by is None:
                by = self._inside[source] = self._open()
                self._senders[by] = source
            to = self._target
        else:
            by, to = self._outside, self._senders[opened]
        heapq.heappush(self._waiting, (time.monotonic() + self._delay, next(self._order), by, to, datagram))
