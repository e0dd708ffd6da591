"""Withdraws a peer from the nodes closest to its key (docs/decisions/0012-withdrawal.md).

The query goes only to nodes whose answers say that they know it: others leave it unanswered. Its time-outs do not count
against a node.
"""

from __future__ import annotations

from collections.abc import Callable

from grape.dht.candidates import Candidate, Found
from grape.dht.compact import Address
from grape.dht.errors import QueryFailed, RemoteError
from grape.dht.lookup import Lookup
from grape.dht.messages import METHOD_UNKNOWN, Response
from grape.dht.routing import K
from grape.dht.transactions import Pending
from grape.krpc.searches import Known, TokenSearch
from grape.krpc.traversal import Arguments, Network, UncountedWrite, WriteOutcome

# Twice as many as an announce goes to: closer nodes may have displaced some that hold the peer.
WIDE_K = 2 * K

# Returns the milliseconds since the withdrawal was made, None once it is void.
Age = Callable[[], int | None]


class _Search(TokenSearch):
    """Looks for the closest nodes and their tokens, and notes which of them know the query, in ``ours``."""

    def __init__(
        self,
        lookup: Lookup,
        network: Network,
        seconds: float,
        done: Callable[[Found], object],
        known: Known,
        came_late: Callable[[Candidate], object],
    ) -> None:
        super().__init__(lookup, network, b"get_peers", b"info_hash", seconds, done, known, came_late)
        self.ours: set[Address] = set()

    def answered(self, pending: Pending, response: Response) -> None:
        """Notes whether the node is one of ours, and takes its answer as any lookup does."""
        if response.is_of_ours:
            self.ours.add(pending.address)
        super().answered(pending, response)


class _Write(UncountedWrite):
    """A write whose time-outs do not count against a node; ``unaware`` are the ids of nodes that do not know it."""

    unaware: frozenset[bytes] = frozenset()

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Counts a holder that refused or did not answer."""
        if isinstance(reason, RemoteError) and reason.code == METHOD_UNKNOWN:
            self.unaware |= {self._holders[pending.address].node_id}
        super().failed(pending, reason)


class Withdrawal:
    """Withdraws ``port`` of this host (0: the UDP port, as others see it) under the key of ``lookup``, which is new.

    Calls ``done(outcome)`` once, within ``lookup_seconds`` and ``write_seconds``; never after ``cancel()``. Its
    ``accepted`` counts the nodes that confirmed it; its ``holders`` are, with these, those that answered and do not
    know the query. Nodes that are late with their tokens are sent it when these come. ``age()`` is called for each
    write: once it returns None nothing more is sent.
    """

    def __init__(
        self,
        lookup: Lookup,
        known: Known,
        network: Network,
        port: int,
        age: Age,
        done: Callable[[WriteOutcome], object],
        lookup_seconds: float,
        write_seconds: float,
    ) -> None:
        self._network = network
        self._key = lookup.key
        self._port = port
        self._age = age
        self._done: Callable[[WriteOutcome], object] | None = done
        self._write_seconds = write_seconds
        self._write: _Write | None = None
        self._search = _Search(lookup, network, lookup_seconds, self._found, known, self._came_late)

    def start(self) -> Withdrawal:
        """Begins with the lookup."""
        self._search.start()
        return self

    def cancel(self) -> None:
        """Ends without calling ``done``, and writes to no more nodes. Does nothing once ``done`` was called."""
        if self._done is not None:
            self._done = None
            self._search.cancel()
            if self._write is not None:
                self._write.cancel()

    def _found(self, found: Found) -> None:
        ours = [candidate for candidate in found.closest if self._is_ours(candidate)]
        others = frozenset([candidate.node_id for candidate in found.closest if not self._is_ours(candidate)])

        def written(outcome: WriteOutcome) -> None:
            done, self._done = self._done, None
            if done is not None:
                outcome.holders |= others | (self._write.unaware if self._write is not None else frozenset())
                done(outcome)

        age = self._age()
        if age is None:
            written(WriteOutcome(0, 0, 0))
        else:
            self._write = self._new_write(ours, age, written)
            self._write.start()

    def _came_late(self, candidate: Candidate) -> None:
        age = self._age()
        if age is not None and self._is_ours(candidate):
            self._new_write([candidate], age, lambda _: None).start()

    def _is_ours(self, candidate: Candidate) -> bool:
        return candidate.token is not None and candidate.address in self._search.ours

    def _new_write(self, holders: list[Candidate], age: int, done: Callable[[WriteOutcome], object]) -> _Write:
        arguments: Arguments = {b"implied_port": int(self._port == 0), b"info_hash": self._key, b"port": self._port}
        if age:
            arguments[b"age"] = age
        return _Write(holders, self._network, b"unannounce_peer", arguments, self._write_seconds, done)
