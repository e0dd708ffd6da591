"""Runs lookups and writes over a network: sends the queries of a lookup machine, and writes to the nodes it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from grape.dht.bencoding import BValue
from grape.dht.candidates import FAILED, HEARD, LATE, PENDING, SLOW, TARDY, Candidate, Found
from grape.dht.compact import NODE_BYTES, Address, decode_nodes
from grape.dht.counts import Kind, LookupTimes, Sent, SentByMethod
from grape.dht.errors import QueryFailed, RemoteError
from grape.dht.lookup import MAX_NODES_PER_RESPONSE, Lookup
from grape.dht.messages import Frame, Response, with_token
from grape.dht.rtt import MAX_SOFT_SECONDS
from grape.dht.transactions import Outcome, Pending
from grape.reactor import Timer

# The Node grape's tokens have 20 bytes; a token is kept for as long as a write may use it.
MAX_TOKEN_BYTES = 64
MAX_NODES_BYTES = MAX_NODES_PER_RESPONSE * NODE_BYTES

# The soft timeout of a query that is sent once more is at least 0.2 s. A lookup that has found nothing waits for it:
# the node may be the only one that has it, and be busy, and on a fast network the first soft timeout is 30 ms. More
# would be felt in the first lookups after a host was switched off; a process that ended is known at once.
SECOND_ROUND_TRIP_SECONDS = 0.1

Arguments = dict[bytes, BValue]


class Network(Protocol):
    """The part of the endpoint that lookups and writes use."""

    lookup_times: LookupTimes
    counts: SentByMethod

    def key_frame(self, method: bytes, field: bytes, key: bytes) -> Frame:
        """Encodes a query of this node about a key, all but its transaction id."""

    def write_frame(self, method: bytes, arguments: Arguments) -> Frame:
        """Encodes a query that takes a token, all but its transaction id and the token."""

    def send(self, address: Address, round_trip: float, frame: Frame, counts: Sent, outcome: Outcome) -> float:
        """Sends a query to a node with this round trip (seconds; 0: unknown); ``outcome`` is told its end.

        It is counted in ``counts``, that of its method. Returns the seconds after which it counts as slow, 0 if it
        could not be sent.
        """

    def add_candidate(self, lookup: Lookup, node_id: bytes, address: Address, told_by: Address) -> None:
        """Adds a node that the node at ``told_by`` named to a lookup, unless it is known to be useless."""

    def unanswered(self, candidate: Candidate, told_by: Address) -> None:
        """Notes that a candidate of which all is known that ``told_by`` named it did not answer in time."""

    def silent(self, address: Address) -> None:
        """Notes that a node let two queries in a row become slow."""

    def seconds(self) -> float:
        """Returns the time on a steady clock."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Calls a function after some seconds."""


class WriteOutcome:
    """The outcome of an announce or put.

    ``asked`` nodes were sent it, ``accepted`` of them took it, ``unanswered`` did not answer in time, ``refusals`` are
    the errors of the rest. ``holders`` are the node ids of those that accepted, and of those that were not waited for
    once another had accepted, because they are slow by their own record: they are expected to accept.
    """

    __slots__ = ("accepted", "asked", "holders", "refusals", "unanswered")

    def __init__(
        self,
        asked: int,
        accepted: int,
        unanswered: int,
        refusals: tuple[RemoteError, ...] = (),
        holders: frozenset[bytes] = frozenset(),
    ) -> None:
        self.asked = asked
        self.accepted = accepted
        self.unanswered = unanswered
        self.refusals = refusals
        self.holders = holders

    def __repr__(self) -> str:
        return (
            f"WriteOutcome(asked={self.asked!r}, accepted={self.accepted!r}, unanswered={self.unanswered!r}, "
            f"refusals={self.refusals!r}, holders={self.holders!r})"
        )


class Operation:
    """Calls ``done`` once with the result, on completion or at the deadline; never after ``cancel()``."""

    ended = False
    _timer: Timer | None = None

    def __init__(self, network: Network, seconds: float, done: Callable[..., object]) -> None:
        self._network = network
        self._began_at = network.seconds()
        self._seconds = seconds
        self._done: Callable[..., object] | None = done

    def cancel(self) -> None:
        """Ends without calling ``done``; no more queries are sent."""
        self._stop()

    def _stop(self) -> Callable[..., object] | None:
        """Ends the operation. Returns what is to be called with the result, if it had not ended before."""
        done, self._done = self._done, None
        self.ended = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return done

    def _ensure_deadline(self, soft_timeout: float) -> None:
        """Sets the deadline's timer if the deadline may come before the latest query is found to be slow."""
        # Most operations end within milliseconds: they need no timer.
        if self._timer is None and self._began_at + self._seconds - self._network.seconds() <= soft_timeout:
            self._start_deadline()

    def _start_deadline(self) -> None:
        if self._timer is None and not self.ended:
            left = self._began_at + self._seconds - self._network.seconds()
            self._timer = self._network.call_later(max(left, 0.0), self._deadline)

    def _deadline(self) -> None:
        raise NotImplementedError


class Traversal(Operation):
    """Runs one lookup; ``done(found)`` is called within ``seconds``.

    ``known`` are the ids and addresses of the candidates that the lookup begins with. Subclasses take what they look
    for from the answers, and say when the lookup may end without nodes that are late. It goes on listening to those
    that are slow by their own record, and adds them to ``found`` if they answer.
    """

    #: Under which kind of lookups its duration is counted.
    kind: ClassVar[Kind] = "nodes"
    # The result, while late answers are added to it.
    _found: Found | None = None

    def __init__(
        self,
        lookup: Lookup,
        network: Network,
        method: bytes,
        field: bytes,
        seconds: float,
        done: Callable[..., object],
        known: frozenset[tuple[bytes, Address]] = frozenset(),
    ) -> None:
        Operation.__init__(self, network, seconds, done)
        self._lookup = lookup
        # Grows by the nodes that answers name; most answers name only known ones.
        self._known = known
        self._frame = network.key_frame(method, field, lookup.key)
        self._counts = network.counts[method]
        self._candidates: dict[Address, Candidate] = {}
        if seconds <= MAX_SOFT_SECONDS:
            self._start_deadline()

    # For subclasses

    def _received(self, candidate: Candidate, values: Arguments) -> bool:
        """Takes an answer, before the lookup goes on. Returns True to end the lookup there."""
        return False

    def _waits(self) -> bool:
        """Returns True while candidates that are late are to be waited for. Called when all others have answered."""
        return self._lookup.waits(is_empty=False)

    def _came_late(self, candidate: Candidate) -> None:
        """Takes one of the closest candidates that answered after the end."""

    def _end(self, found: Found) -> None:
        """Ends the lookup with a result, and tells it, unless it had ended before."""
        done = self._stop()
        if done is not None:
            self._found = found
            network = self._network
            network.lookup_times[self.kind].add(network.seconds() - self._began_at)
            done(found)

    # The course of the lookup

    def start(self) -> None:
        """Sends the first queries."""
        self._advance()

    def cancel(self) -> None:
        """Ends without calling ``done``, or, once that was called, takes no more late answers."""
        self._stop()
        self._found = None

    def answered(self, pending: Pending, response: Response) -> None:
        """Gives a response to the lookup, adds the nodes that it names, and sends the next queries."""
        candidate = self._candidates[pending.address]
        if candidate.state is HEARD:
            return
        values = response.values
        node_id, token = values[b"id"], values.get(b"token")
        assert isinstance(node_id, bytes)
        if not isinstance(token, bytes) or len(token) > MAX_TOKEN_BYTES:
            token = None
        if self.ended:
            if self._found is not None and self._lookup.heard_late(self._found, candidate, node_id, token):
                self._came_late(candidate)
            return
        self._lookup.heard(candidate, node_id, token)
        nodes = values.get(b"nodes")
        if isinstance(nodes, bytes) and nodes:
            found = decode_nodes(nodes[:MAX_NODES_BYTES], self._lookup.own_id)
            if not found <= self._known:
                self._known |= found
                for found_id, address in sorted(found):
                    self._network.add_candidate(self._lookup, found_id, address, pending.address)
        try:
            if self._received(candidate, values):
                self._lookup.stop()
        finally:
            self._advance()

    def slow(self, pending: Pending) -> None:
        """Goes on to the next candidates; sends the query once more, as a datagram may have been lost.

        A contact that is slow by its own record is not sent it again: it was given the time that it takes.
        """
        candidate = self._candidates[pending.address]
        state = candidate.state
        if state is HEARD or state is FAILED:
            return
        if candidate.told_by is not None:
            self._network.unanswered(candidate, candidate.told_by)
        if state is LATE:
            self._network.silent(candidate.address)
        if state is SLOW or (self.ended and state is not TARDY):
            return
        self._lookup.slow(candidate)
        if self.ended:
            return
        self._start_deadline()
        if state is PENDING:
            self._lookup.asked_again()
            round_trip = max(candidate.round_trip, SECOND_ROUND_TRIP_SECONDS)
            self._network.send(candidate.address, round_trip, self._frame, self._counts, self)
        self._advance()

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Goes on without a candidate that refused or did not answer."""
        candidate = self._candidates[pending.address]
        if candidate.state is HEARD or candidate.state is FAILED:
            return
        self._lookup.failed(candidate)
        if not self.ended:
            self._advance()

    def _advance(self) -> None:
        lookup = self._lookup
        while chosen := lookup.ask():
            if self._candidates:
                # Time may have passed.
                self._ensure_deadline(MAX_SOFT_SECONDS)
            all_sent = True
            for candidate in chosen:
                self._candidates[candidate.address] = candidate
                if not self._network.send(candidate.address, candidate.round_trip, self._frame, self._counts, self):
                    lookup.failed(candidate)
                    all_sent = False
            if all_sent:
                break
        if lookup.finished and not (lookup.late and self._waits()):
            self._end(lookup.found())

    def _deadline(self) -> None:
        self._end(self._lookup.found())


class Write(Operation):
    """Writes to the nodes that a lookup found, to all at once, each with the token that it gave.

    Those that are slow by their own record are waited for only while no other has accepted.
    """

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
        self._counts = network.counts[method]
        self._holders = {holder.address: holder for holder in holders}
        self._slow = {holder.address for holder in holders if holder.asked_as is TARDY}
        self._waiting = set(self._holders) - self._slow
        self._accepted: set[Address] = set()
        self._refusals: dict[Address, RemoteError] = {}

    def start(self) -> None:
        """Sends the query to every holder."""
        longest = 0.0
        for address, holder in self._holders.items():
            soft_seconds = self._send(holder)
            if soft_seconds > longest:
                longest = soft_seconds
            elif not soft_seconds:
                self._waiting.discard(address)
                self._slow.discard(address)
        self._end_if_settled()
        if not self.ended:
            self._ensure_deadline(longest)

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

    def _send(self, holder: Candidate) -> float:
        assert holder.token is not None
        frame = with_token(self._write, holder.token)
        return self._network.send(holder.address, holder.round_trip, frame, self._counts, self)

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
        refusals: tuple[RemoteError, ...] = ()
        if self._refusals:
            refusals = tuple([error for address, error in self._refusals.items() if address not in accepted])
        expected = [address for address in self._slow if holders[address].is_tardy] if accepted else []
        ids = frozenset([holders[address].node_id for address in (*accepted, *expected)])
        unanswered = len(holders) - len(accepted) - len(refusals) - len(expected)
        done = self._stop()
        if done is not None:
            done(WriteOutcome(len(holders), len(accepted), unanswered, refusals, ids))


class UncountedWrite(Write):
    """A write that not every node knows: to leave it unanswered says nothing about a node."""
