"""Records how a lookup goes: which nodes it asked, in which order, who named them, and what each answered when."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from grape.dht import items as bep44
from grape.dht.candidates import Candidate
from grape.dht.compact import NODE_BYTES, Address, decode_peers
from grape.dht.counts import Sent
from grape.dht.errors import QueryFailed
from grape.dht.lookup import Lookup
from grape.dht.messages import Frame, Response
from grape.dht.nodeid import ID_BYTES
from grape.dht.transactions import Outcome, Pending
from grape.krpc.searches import MAX_VALUES_PER_RESPONSE
from grape.krpc.traversal import Arguments, Network
from grape.reactor import Timer


@attrs.define(slots=True)
class Asked:
    """A node that a lookup asked. Times are in seconds since the lookup began."""

    address: Address
    #: The id under which it was named, then the one that it answered with; None: not known.
    node_id: bytes | None
    #: The node that named it first; None for one of the routing table, where the lookup began.
    told_by: Address | None
    asked_at: float
    #: When the query was sent once more, as no answer had come.
    asked_again_at: float | None = None
    answered_at: float | None = None
    #: True once its answer was late, so that the lookup went on without it.
    is_slow: bool = False
    #: Why no answer will come.
    error: str | None = None
    #: How many nodes it named.
    nodes: int = 0
    peers: tuple[Address, ...] = ()
    #: The sequence number of a valid item in the answer, 0 for an immutable one.
    seq: int | None = None
    gave_token: bool = False


class Tracer:
    """A network for one lookup that records what is sent through it to ``network``, and how it ends.

    ``known`` are the ids of contacts by their addresses. ``key`` and ``salt`` are those of the lookup.
    """

    def __init__(self, network: Network, known: Mapping[Address, bytes], key: bytes, salt: bytes = b"") -> None:
        self._network = network
        self.lookup_times, self.counts = network.lookup_times, network.counts
        self._known = known
        self._key = key
        self._salt = salt
        self._began_at = network.seconds()
        self._named: dict[Address, tuple[bytes, Address]] = {}
        self._asked: dict[Address, Asked] = {}

    @property
    def elapsed(self) -> float:
        """The seconds since the lookup began."""
        return self._network.seconds() - self._began_at

    def asked(self) -> list[Asked]:
        """Returns the nodes asked so far, in their order; answers that come later do not change them."""
        return [attrs.evolve(asked) for asked in self._asked.values()]

    def sent(self, address: Address, outcome: Outcome) -> Outcome:
        """Notes that a query is sent to a node. Returns what is to be told its end instead of ``outcome``."""
        asked = self._asked.get(address)
        if asked is not None:
            asked.asked_again_at = self.elapsed
        else:
            node_id, told_by = self._named.get(address, (self._known.get(address), None))
            asked = self._asked[address] = Asked(address, node_id, told_by, self.elapsed)
        return _Recording(self, asked, outcome)

    def answered(self, asked: Asked, values: Arguments) -> None:
        """Notes an answer."""
        asked.answered_at = self.elapsed
        node_id, nodes, token = values.get(b"id"), values.get(b"nodes"), values.get(b"token")
        if isinstance(node_id, bytes) and len(node_id) == ID_BYTES:
            asked.node_id = node_id
        if isinstance(nodes, bytes):
            asked.nodes = len(nodes) // NODE_BYTES
        asked.gave_token = isinstance(token, bytes)
        asked.peers = tuple(decode_peers(values.get(b"values"), MAX_VALUES_PER_RESPONSE, asked.address[0]))
        if b"v" in values:
            item = bep44.from_response(self._key, values, self._salt)
            asked.seq = item.seq if item is not None else None

    # Implements traversal.Network.

    def key_frame(self, method: bytes, field: bytes, key: bytes) -> Frame:
        """Encodes a query about a key."""
        return self._network.key_frame(method, field, key)

    def write_frame(self, method: bytes, arguments: Arguments) -> Frame:
        """Encodes a query that takes a token."""
        return self._network.write_frame(method, arguments)

    def send(self, address: Address, round_trip: float, frame: Frame, counts: Sent, outcome: Outcome) -> float:
        """Sends a query, and records it."""
        return self._network.send(address, round_trip, frame, counts, self.sent(address, outcome))

    def add_candidate(self, lookup: Lookup, node_id: bytes, address: Address, told_by: Address) -> None:
        """Adds a node that another named, and records who did so first."""
        if address not in self._known:
            self._named.setdefault(address, (node_id, told_by))
        self._network.add_candidate(lookup, node_id, address, told_by)

    def unanswered(self, candidate: Candidate, told_by: Address) -> None:
        """Notes that a candidate did not answer in time."""
        self._network.unanswered(candidate, told_by)

    def silent(self, address: Address) -> None:
        """Notes that a node let two queries in a row become slow."""
        self._network.silent(address)

    def seconds(self) -> float:
        """Returns the time on a steady clock."""
        return self._network.seconds()

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Calls a function after some seconds."""
        return self._network.call_later(seconds, function)


class _Recording:
    """Records the end of one query, and passes it on."""

    __slots__ = ("_asked", "_outcome", "_tracer")

    def __init__(self, tracer: Tracer, asked: Asked, outcome: Outcome) -> None:
        self._tracer = tracer
        self._asked = asked
        self._outcome = outcome

    def answered(self, pending: Pending, response: Response) -> None:
        self._tracer.answered(self._asked, response.values)
        self._outcome.answered(pending, response)

    def slow(self, pending: Pending) -> None:
        self._asked.is_slow = True
        self._outcome.slow(pending)

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        self._asked.error = str(reason)
        self._outcome.failed(pending, reason)
