"""Runs lookups and writes over a network: sends the queries of a lookup machine, and writes to the nodes it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import attrs

from grape.dht.bencoding import BValue
from grape.dht.compact import NODE_BYTES, Address, decode_nodes
from grape.dht.errors import QueryFailed, RemoteError
from grape.dht.lookup import HEARD, MAX_NODES_PER_RESPONSE, PENDING, SLOW, Candidate, Found, Lookup
from grape.dht.messages import Frame, Response, with_token
from grape.dht.rtt import MAX_SOFT_SECONDS
from grape.dht.transactions import Outcome, Pending
from grape.reactor import Timer

T = TypeVar("T")

# The Node grape's tokens have 20 bytes; a token is kept for as long as a write may use it.
MAX_TOKEN_BYTES = 64
MAX_NODES_BYTES = MAX_NODES_PER_RESPONSE * NODE_BYTES

# A lookup that has found nothing waits so much longer for slow nodes: one of them may be the only one that has it, and
# on a fast network a node is slow after 30 ms. More would be felt in the first lookups after a node has died.
EMPTY_SECONDS = 0.2

Arguments = dict[bytes, BValue]


class Network(Protocol):
    """The part of the endpoint that lookups and writes use."""

    def key_frame(self, method: bytes, field: bytes, key: bytes) -> Frame:
        """Encodes a query of this node about a key, all but its transaction id."""

    def write_frame(self, method: bytes, arguments: Arguments) -> Frame:
        """Encodes a query that takes a token, all but its transaction id and the token."""

    def send(self, address: Address, round_trip: float, frame: Frame, outcome: Outcome) -> bool:
        """Sends a query to a node with this smoothed round trip (seconds; 0: unknown); ``outcome`` is told its end.

        Returns False if the query could not be sent.
        """

    def soft_timeout(self, candidate: Candidate) -> float:
        """Returns the seconds after which a query to a candidate counts as slow."""

    def add_candidate(self, lookup: Lookup, node_id: bytes, address: Address, told_by: Address) -> None:
        """Adds a node that the node at ``told_by`` named to a lookup, unless it is known to be useless."""

    def seconds(self) -> float:
        """Returns the time on a steady clock."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Calls a function after some seconds."""


@attrs.define(slots=True)
class WriteOutcome:
    """The outcome of an announce or put.

    ``asked`` nodes were sent it, ``accepted`` of them took it, ``unanswered`` did not answer in time, ``refusals`` are
    the errors of the rest. ``holders`` are the node ids of those that accepted.
    """

    asked: int
    accepted: int
    unanswered: int
    refusals: tuple[RemoteError, ...] = ()
    holders: frozenset[bytes] = frozenset()


class _Operation(Generic[T]):
    """Calls ``done(result)`` once, on completion or at the deadline; never after ``cancel()``."""

    def __init__(self, network: Network, seconds: float, done: Callable[[T], object]) -> None:
        self._network = network
        self._ends_at = network.seconds() + seconds
        self._timer: Timer | None = None
        # Set while an operation that could end waits for slow nodes.
        self._patience: Timer | None = None
        self._done: Callable[[T], object] | None = done
        self.ended = False

    def cancel(self) -> None:
        """Ends without calling ``done``; no more queries are sent."""
        self.ended = True
        self._done = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._patience is not None and self._patience.active():
            self._patience.cancel()

    def _ensure_deadline(self, soft_timeout: float) -> None:
        """Sets the deadline's timer if the deadline may come before the latest query is found to be slow."""
        # Most operations end within milliseconds: they need no timer.
        if self._timer is None and self._ends_at - self._network.seconds() <= soft_timeout:
            self._start_deadline()

    def _start_deadline(self) -> None:
        if self._timer is None and not self.ended:
            left = self._ends_at - self._network.seconds()
            self._timer = self._network.call_later(max(left, 0.0), self._deadline)

    def _deadline(self) -> None:
        raise NotImplementedError

    def _end(self, value: T) -> None:
        done = self._done
        if done is not None:
            self.cancel()
            done(value)


class Traversal(_Operation[Found]):
    """Runs one lookup; ``done`` is called with what was found, within ``seconds``.

    ``on_response(candidate, values)`` is called first for each answer; the lookup ends there if it returns True.
    ``known`` are the ids and addresses of the candidates that the lookup begins with. While ``is_empty()``, which is
    called when all others have answered, the lookup waits up to EMPTY_SECONDS for slow candidates, too.
    """

    def __init__(
        self,
        lookup: Lookup,
        network: Network,
        method: bytes,
        field: bytes,
        on_response: Callable[[Candidate, Arguments], bool],
        seconds: float,
        done: Callable[[Found], object],
        known: frozenset[tuple[bytes, Address]] = frozenset(),
        is_empty: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(network, seconds, done)
        self._lookup = lookup
        # None: slow candidates are not waited for.
        self._is_empty = is_empty
        # Grows by the nodes that answers name; most answers name only known ones.
        self._known = known
        self._frame = network.key_frame(method, field, lookup.key)
        self._on_response = on_response
        self._candidates: dict[Address, Candidate] = {}

    def start(self) -> None:
        """Sends the first queries."""
        self._advance()

    def answered(self, pending: Pending, response: Response) -> None:
        """Gives a response to the lookup, adds the nodes that it names, and sends the next queries."""
        candidate = self._candidates[pending.address]
        if self.ended or candidate.state is HEARD:
            return
        values = response.values
        node_id, token = values[b"id"], values.get(b"token")
        assert isinstance(node_id, bytes)
        self._lookup.heard(
            candidate, node_id, token if isinstance(token, bytes) and len(token) <= MAX_TOKEN_BYTES else None
        )
        nodes = values.get(b"nodes")
        if isinstance(nodes, bytes) and nodes:
            found = decode_nodes(nodes[:MAX_NODES_BYTES], self._lookup.own_id)
            if not found <= self._known:
                self._known |= found
                for found_id, address in sorted(found):
                    self._network.add_candidate(self._lookup, found_id, address, pending.address)
        try:
            if self._on_response(candidate, values):
                self._lookup.stop()
        finally:
            self._advance()

    def slow(self, pending: Pending) -> None:
        """Sends the query once more, as a datagram may have been lost, and goes on to the next candidates."""
        candidate = self._candidates[pending.address]
        if self.ended or candidate.state is not PENDING:
            return
        self._lookup.slow(candidate)
        self._start_deadline()
        self._lookup.asked_again()
        self._network.send(candidate.address, candidate.round_trip, self._frame, self)
        if self._is_empty is not None and self._patience is None:
            self._patience = self._network.call_later(EMPTY_SECONDS, self._wait_no_longer)
        self._advance()

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Goes on without a candidate that refused or did not answer."""
        candidate = self._candidates[pending.address]
        if not self.ended and candidate.state in (PENDING, SLOW):
            self._lookup.failed(candidate)
            self._advance()

    def _advance(self) -> None:
        lookup = self._lookup
        while chosen := lookup.ask():
            self._ensure_deadline(MAX_SOFT_SECONDS)
            all_sent = True
            for candidate in chosen:
                self._candidates[candidate.address] = candidate
                if not self._network.send(candidate.address, candidate.round_trip, self._frame, self):
                    lookup.failed(candidate)
                    all_sent = False
            if all_sent:
                break
        if lookup.finished and (self._patience is None or not self._waits_for_slow()):
            self._end(lookup.found())

    def _waits_for_slow(self) -> bool:
        return self._is_empty is not None and self._lookup.has_slow and self._is_empty()

    def _wait_no_longer(self) -> None:
        self._is_empty = None
        self._advance()

    def _deadline(self) -> None:
        self._end(self._lookup.found())


class Write(_Operation[WriteOutcome]):
    """Writes to the nodes that a lookup found, to all at once, each with the token that it gave."""

    def __init__(
        self,
        holders: Sequence[Candidate],
        network: Network,
        method: bytes,
        arguments: Arguments,
        seconds: float,
        done: Callable[[WriteOutcome], object],
    ) -> None:
        super().__init__(network, seconds, done)
        self._write = network.write_frame(method, arguments)
        self._holders = {holder.address: holder for holder in holders}
        self._waiting = set(self._holders)
        self._slow: set[Address] = set()
        self._accepted: set[Address] = set()
        self._refusals: dict[Address, RemoteError] = {}

    def start(self) -> None:
        """Sends the query to every holder."""
        for address, holder in self._holders.items():
            if not self._send(holder):
                self._waiting.discard(address)
        self._end_if_settled()
        if not self.ended:
            self._ensure_deadline(max(map(self._network.soft_timeout, self._holders.values())))

    def answered(self, pending: Pending, response: Response) -> None:
        """Counts a holder that accepted."""
        self._accepted.add(pending.address)
        self._settled(pending.address)

    def slow(self, pending: Pending) -> None:
        """Sends the query once more, as a datagram may have been lost: to write twice is to write once."""
        address = pending.address
        if self.ended or address not in self._waiting:
            return
        self._waiting.discard(address)
        self._slow.add(address)
        self._start_deadline()
        self._send(self._holders[address])
        self._end_if_settled()

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Counts a holder that refused or did not answer."""
        if isinstance(reason, RemoteError):
            self._refusals[pending.address] = reason
        self._settled(pending.address)

    def _send(self, holder: Candidate) -> bool:
        assert holder.token is not None
        return self._network.send(holder.address, holder.round_trip, with_token(self._write, holder.token), self)

    def _settled(self, address: Address) -> None:
        self._waiting.discard(address)
        self._slow.discard(address)
        self._end_if_settled()

    def _end_if_settled(self) -> None:
        # Slow holders are waited for only while nobody has accepted.
        if not self._waiting and (self._accepted or not self._slow):
            self._deadline()

    def _deadline(self) -> None:
        holders, accepted = self._holders, self._accepted
        refusals = tuple([error for address, error in self._refusals.items() if address not in accepted])
        ids = frozenset([holders[address].node_id for address in accepted])
        unanswered = len(holders) - len(accepted) - len(refusals)
        self._end(WriteOutcome(len(holders), len(accepted), unanswered, refusals, ids))
