"""Matches responses to queries in flight by transaction id and address, and tracks the two deadlines of each query.

Past its *soft* deadline a query is slow: its lookup no longer waits for it, but a response still counts. Past the
hard deadline it has failed. Only the soft deadline is queued when a query is sent: most are answered before it.
Most soft deadlines are in the order of their queries and stand in a queue, the others in a heap.
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from grape.dht.compact import Address
from grape.dht.counts import Sent
from grape.dht.errors import LocalProtocolError, QueryFailed
from grape.dht.messages import Response
from grape.dht.nodeid import RandomBytes

TRANSACTION_ID_BYTES = 2
QUERY_TIMEOUT_SECONDS = 2.0
# 1,024 calls with twenty writes each, and as many again for what a node does by itself.
MAX_PENDING = 40_960
NOISE_BYTES = 1_024


class Outcome(Protocol):
    """Receives how a query ends; called at most once with ``slow``, then at most once with one of the others."""

    def answered(self, pending: Pending, response: Response) -> None:
        """Receives the response."""

    def slow(self, pending: Pending) -> None:
        """Learns that the soft deadline has passed."""

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Learns that no useful response will come."""


class _Nobody:
    """Ignores how a query ends: the outcome of one whose end was already reported."""

    def answered(self, pending: Pending, response: Response) -> None: ...

    def slow(self, pending: Pending) -> None: ...

    def failed(self, pending: Pending, reason: QueryFailed) -> None: ...


NOBODY = _Nobody()

# Of queries that nobody counts.
UNCOUNTED = Sent()


# The time from which on a query is slow once its outcome has been told so.
REPORTED = -math.inf


class Pending:
    """Describes a query in flight: sent at ``sent_at``, slow from ``slow_at`` on, ``done`` once it has ended.

    Its end is counted in ``counts``.
    """

    __slots__ = ("address", "counts", "done", "outcome", "sent_at", "slow_at", "transaction_id")

    def __init__(
        self,
        transaction_id: bytes,
        address: Address,
        outcome: Outcome,
        sent_at: float,
        slow_at: float,
        counts: Sent = UNCOUNTED,
    ) -> None:
        self.transaction_id = transaction_id
        self.address = address
        self.outcome = outcome
        self.sent_at = sent_at
        self.slow_at = slow_at
        self.counts = counts
        self.done = False


class Transactions:
    """Keeps the queries in flight of one socket; ``max_pending`` bounds them."""

    def __init__(self, random_bytes: RandomBytes, max_pending: int = MAX_PENDING) -> None:
        self._random_bytes = random_bytes
        self._max_pending = max_pending
        self._pending: dict[tuple[bytes, Address], Pending] = {}
        # Queries that will be slow in this order; and all other deadlines: the time, a number to tell equal times
        # apart, the query, and True for a soft deadline.
        self._fresh: deque[Pending] = deque()
        self._deadlines: list[tuple[float, int, Pending, bool]] = []
        self._order = count()
        # Random bytes drawn in advance: to draw two costs as much as to draw 1,024.
        self._noise = b""
        self._noise_at = NOISE_BYTES

    def __len__(self) -> int:
        return len(self._pending)

    def set_limit(self, max_pending: int) -> None:
        """Sets how many queries may be in flight; those that are stay."""
        self._max_pending = max_pending

    def open(
        self, address: Address, outcome: Outcome, now: float, soft_seconds: float, counts: Sent = UNCOUNTED
    ) -> Pending:
        """Registers a query to ``address`` under a new transaction id; it is slow after ``soft_seconds``.

        Raises LocalProtocolError when too many queries are in flight.
        """
        if len(self._pending) >= self._max_pending:
            raise LocalProtocolError("too many queries in flight")
        # As _draw does it, without the call.
        at = self._noise_at
        if at < NOISE_BYTES:
            self._noise_at = after = at + TRANSACTION_ID_BYTES
            key = self._noise[at:after], address
        else:
            key = self._draw(), address
        while key in self._pending:
            key = self._draw(), address
        pending = self._pending[key] = Pending(key[0], address, outcome, now, now + soft_seconds, counts)
        fresh = self._fresh
        if not fresh or fresh[-1].slow_at <= pending.slow_at:
            fresh.append(pending)
        else:
            heappush(self._deadlines, (pending.slow_at, next(self._order), pending, True))
        return pending

    def _draw(self) -> bytes:
        at = self._noise_at
        if at >= NOISE_BYTES:
            self._noise = self._random_bytes(NOISE_BYTES)
            at = 0
        self._noise_at = at + TRANSACTION_ID_BYTES
        return self._noise[at : at + TRANSACTION_ID_BYTES]

    def close(self, transaction_id: object, address: Address) -> Pending | None:
        """Ends and returns the query that a message from ``address`` with this id answers; None if there is none."""
        if not isinstance(transaction_id, bytes):
            return None
        pending = self._pending.pop((transaction_id, address), None)
        if pending is not None:
            pending.done = True
        return pending

    def hasten(self, transaction_id: bytes, address: Address) -> Pending | None:
        """Makes a query slow before its soft deadline and returns it; its hard deadline stays.

        Returns None if no such query is in flight, or if it is slow already.
        """
        key = transaction_id, address
        pending = self._pending.get(key)
        if pending is None or pending.slow_at == REPORTED:
            return None
        # The queue keeps the old entry, as one that has ended: it is in the order of the soft deadlines.
        pending.done = True
        hastened = self._pending[key] = Pending(
            transaction_id, address, pending.outcome, pending.sent_at, REPORTED, pending.counts
        )
        self._await_end(hastened)
        return hastened

    def take_back(self, pending: Pending) -> None:
        """Removes the latest query, which could not be sent."""
        self.close(pending.transaction_id, pending.address)
        if self._fresh and self._fresh[-1] is pending:
            self._fresh.pop()

    def next_deadline(self) -> float | None:
        """Returns the time of the next deadline; None if no query is in flight."""
        fresh, deadlines = self._fresh, self._deadlines
        while fresh and fresh[0].done:
            fresh.popleft()
        while deadlines and deadlines[0][2].done:
            heappop(deadlines)
        if fresh and not (deadlines and deadlines[0][0] < fresh[0].slow_at):
            return fresh[0].slow_at
        return deadlines[0][0] if deadlines else None

    def due(self, now: float) -> tuple[list[Pending], list[Pending]]:
        """Returns the queries that became slow, and those that failed and are removed, by ``now``."""
        slow: list[Pending] = []
        failed: list[Pending] = []
        fresh, deadlines = self._fresh, self._deadlines
        while fresh and fresh[0].slow_at <= now:
            pending = fresh.popleft()
            heappush(deadlines, (pending.slow_at, next(self._order), pending, True))
        while deadlines and deadlines[0][0] <= now:
            _, _, pending, soft = heappop(deadlines)
            if pending.done:
                continue
            if soft and now < pending.sent_at + QUERY_TIMEOUT_SECONDS:
                slow.append(pending)
                pending.slow_at = REPORTED
                self._await_end(pending)
            else:
                self.close(pending.transaction_id, pending.address)
                failed.append(pending)
        return slow, failed

    def _await_end(self, pending: Pending) -> None:
        """Queues the hard deadline of a query that is slow."""
        heappush(self._deadlines, (pending.sent_at + QUERY_TIMEOUT_SECONDS, next(self._order), pending, False))

    def abandon(self) -> list[Pending]:
        """Removes and returns all queries in flight: the socket is closing."""
        left = list(self._pending.values())
        for pending in left:
            pending.done = True
        self._pending.clear()
        self._fresh.clear()
        self._deadlines.clear()
        return left
