"""Drivers: run a lookup machine against a network, and write to the nodes that it found."""

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

# The Node grape gives 20 bytes; what is given is sent back, and kept.
MAX_TOKEN_BYTES = 64
MAX_NODES_BYTES = MAX_NODES_PER_RESPONSE * NODE_BYTES

Arguments = dict[bytes, BValue]


class Network(Protocol):
    """What a traversal needs of the socket it runs on."""

    def key_frame(self, method: bytes, field: bytes, key: bytes) -> Frame:
        """What to send: a query of this node's about a key."""

    def write_frame(self, method: bytes, arguments: Arguments) -> Frame:
        """The same for a query that takes a token, without it."""

    def send(self, address: Address, round_trip: float, frame: Frame, outcome: Outcome) -> bool:
        """Query a node of a usual ``round_trip`` (seconds; 0: not known); the outcome is told how it ends.

        False if it could not be sent at all.
        """

    def patience(self, candidate: Candidate) -> float:
        """Seconds after which a candidate that was just asked counts as slow."""

    def consider(self, lookup: Lookup, node_id: bytes, address: Address, told_by: Address) -> None:
        """Add a node that another one told us of to the lookup, if it is worth asking."""

    def seconds(self) -> float:
        """The time, on a steady clock."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call a function after some seconds."""


@attrs.define(slots=True)
class WriteOutcome:
    """How an announce or put went: nodes asked, how many accepted, how many did not answer in time, and refusals.

    ``holders`` are the ids of those that accepted.
    """

    asked: int
    accepted: int
    unanswered: int
    refusals: tuple[RemoteError, ...] = ()
    holders: frozenset[bytes] = frozenset()


class _Operation(Generic[T]):
    """A result that ``done`` is told once, when it is there or at a deadline; never, if it was cancelled."""

    def __init__(self, network: Network, seconds: float, done: Callable[[T], object]) -> None:
        self._network = network
        self._ends_at = network.seconds() + seconds
        self._timer: Timer | None = None
        self._done: Callable[[T], object] | None = done
        self.ended = False

    def cancel(self) -> None:
        """Tell nobody, and ask nobody any more."""
        self.ended = True
        self._done = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _watch(self, patience: float) -> None:
        """Set the deadline's timer, if what was asked last may not turn out slow, after ``patience``, before it."""
        # Most endings come within milliseconds: they need no timer.
        if self._timer is None and self._ends_at - self._network.seconds() <= patience:
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
    """One lookup under way: ``done`` is told what was found, within ``seconds``.

    ``on_response`` sees each answer (candidate, values) first and returns true to end the lookup there.
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
    ) -> None:
        super().__init__(network, seconds, done)
        self._lookup = lookup
        # What it begins with, and what others told so far: ids with addresses.
        self._told = known
        self._frame = network.key_frame(method, field, lookup.key)
        self._on_response = on_response
        self._candidates: dict[Address, Candidate] = {}

    def start(self) -> None:
        """Ask the first candidates."""
        self._advance()

    def answered(self, pending: Pending, response: Response) -> None:
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
            if not found <= self._told:
                self._told |= found
                for found_id, address in sorted(found):
                    self._network.consider(self._lookup, found_id, address, pending.address)
        try:
            if self._on_response(candidate, values):
                self._lookup.stop()
        finally:
            self._advance()

    def slow(self, pending: Pending) -> None:
        candidate = self._candidates[pending.address]
        if self.ended or candidate.state is not PENDING:
            return
        self._lookup.slow(candidate)
        self._start_deadline()
        # It may be dead, or a datagram was lost: one more cannot hurt.
        self._lookup.asked_again()
        self._network.send(candidate.address, candidate.round_trip, self._frame, self)
        self._advance()

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        candidate = self._candidates[pending.address]
        if not self.ended and candidate.state in (PENDING, SLOW):
            self._lookup.failed(candidate)
            self._advance()

    def _advance(self) -> None:
        lookup = self._lookup
        while chosen := lookup.ask():
            self._watch(MAX_SOFT_SECONDS)
            is_settled = True
            for candidate in chosen:
                self._candidates[candidate.address] = candidate
                if not self._network.send(candidate.address, candidate.round_trip, self._frame, self):
                    lookup.failed(candidate)
                    is_settled = False
            if is_settled:
                break
        if lookup.finished:
            self._end(lookup.found())

    def _deadline(self) -> None:
        self._end(self._lookup.found())


class Write(_Operation[WriteOutcome]):
    """One write to the nodes that a lookup found, each with its own token, all at once."""

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
        """Send the query to every holder."""
        for address, holder in self._holders.items():
            if not self._send(holder):
                self._waiting.discard(address)
        self._settle()
        if not self.ended:
            self._watch(max(map(self._network.patience, self._holders.values())))

    def answered(self, pending: Pending, response: Response) -> None:
        self._accepted.add(pending.address)
        self._over(pending.address)

    def slow(self, pending: Pending) -> None:
        address = pending.address
        if self.ended or address not in self._waiting:
            return
        self._waiting.discard(address)
        self._slow.add(address)
        self._start_deadline()
        # It may be dead, or a datagram was lost: to write twice is to write once.
        self._send(self._holders[address])
        self._settle()

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        if isinstance(reason, RemoteError):
            self._refusals[pending.address] = reason
        self._over(pending.address)

    def _send(self, holder: Candidate) -> bool:
        assert holder.token is not None
        return self._network.send(holder.address, holder.round_trip, with_token(self._write, holder.token), self)

    def _over(self, address: Address) -> None:
        self._waiting.discard(address)
        self._slow.discard(address)
        self._settle()

    def _settle(self) -> None:
        # Slow holders are waited for only while nobody has accepted.
        if not self._waiting and (self._accepted or not self._slow):
            self._deadline()

    def _deadline(self) -> None:
        holders, accepted = self._holders, self._accepted
        refusals = tuple([error for address, error in self._refusals.items() if address not in accepted])
        ids = frozenset([holders[address].node_id for address in accepted])
        unanswered = len(holders) - len(accepted) - len(refusals)
        self._end(WriteOutcome(len(holders), len(accepted), unanswered, refusals, ids))
