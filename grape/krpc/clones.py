"""Finds other nodes that use this node's own id, as those do that were started from copies of one state file.

An answer with our own id comes from such a node, or from ourselves, asked at one of our own addresses. Then the query
has reached our own socket before the answer came: its transaction id tells. Anybody can answer with our id once; what
follows from a clone is decided by ``node.own_id``.
"""

from __future__ import annotations

from collections.abc import Callable

from grape.dht.bounded import BoundedDict
from grape.dht.compact import Address
from grape.dht.errors import AnsweredByOurselves, QueryFailed, QueryTimeout
from grape.dht.messages import Response
from grape.dht.transactions import TRANSACTION_ID_BYTES, Pending
from grape.krpc.liveness import LivenessCheck, Ping

# A clone has answered so many pings with our id, and none of these has reached our own socket.
CLONE_ANSWERS = 2
# How long an address is not pinged again; and after a ping without an answer.
CHECKED_SECONDS = 300.0
RETRY_SECONDS = 5.0
MAX_CHECKED = 256
MAX_CHECKING = 8


class Clones:
    """Pings addresses that are said to have our own node id, and calls ``found(address)`` for another node there.

    ``ping(address, outcome)`` sends a ping and returns False if it could not be sent.
    """

    def __init__(self, ping: Ping, found: Callable[[Address], object]) -> None:
        self._ping = ping
        self._found = found
        # Addresses being pinged, each with the number of answers that have our id and are not ours.
        self._checking: dict[Address, int] = {}
        self._checked_at: BoundedDict[Address, float] = BoundedDict(MAX_CHECKED)
        # Addresses at which we have reached ourselves.
        self._ours: BoundedDict[Address, None] = BoundedDict(MAX_CHECKED)
        # While addresses are being pinged: the transaction ids, 65,536 at most, of queries with our id that came here.
        self._received: set[bytes] = set()

    @property
    def is_checking(self) -> bool:
        """True while an address is being pinged."""
        return bool(self._checking)

    def is_checked(self, address: Address) -> bool:
        """Returns True if it was found out lately whether there is another node with our id at this address."""
        return address in self._checked_at and address not in self._checking

    def is_ours(self, address: Address) -> bool:
        """Returns True if a query to this address was found to come to our own socket."""
        return address in self._ours

    def suspect(self, address: Address, now: float) -> None:
        """Pings an address that is said to have our id, unless it was pinged within CHECKED_SECONDS."""
        at = self._checked_at.get(address)
        if (at is not None and now - at < CHECKED_SECONDS) or len(self._checking) >= MAX_CHECKING:
            return
        self._checked_at.put(address, now)
        self._checking[address] = 0
        self._send(address)

    def received(self, transaction_id: object) -> None:
        """Notes a query with our own id that came to our socket."""
        if self._checking and isinstance(transaction_id, bytes) and len(transaction_id) == TRANSACTION_ID_BYTES:
            self._received.add(transaction_id)

    def answered_with_own_id(self, pending: Pending) -> None:
        """Notes that a ping was answered with our own id."""
        address = pending.address
        if pending.transaction_id in self._received:
            self._ours.put(address, None)
            self._end(address)
            return
        self._checking[address] += 1
        if self._checking[address] < CLONE_ANSWERS:
            self._send(address)
        else:
            self._ours.pop(address, None)
            self._end(address)
            self._found(address)

    def answered_otherwise(self, pending: Pending) -> None:
        """Notes that a ping was answered with another id, or with an error."""
        self._end(pending.address)

    def unanswered(self, pending: Pending) -> None:
        """Notes that a ping was not answered."""
        self._checked_at.put(pending.address, pending.sent_at + RETRY_SECONDS - CHECKED_SECONDS)
        self._end(pending.address)

    def forget(self) -> None:
        """Forgets what is known about addresses: this node has another id now."""
        self._checked_at.clear()

    def _send(self, address: Address) -> None:
        if not self._ping(address, _CloneCheck(self)):
            self._end(address)

    def _end(self, address: Address) -> None:
        self._checking.pop(address, None)
        if not self._checking:
            self._received.clear()


class _CloneCheck(LivenessCheck):
    """The outcome of a ping of an address that is said to have our own id."""

    __slots__ = ("_clones",)

    def __init__(self, clones: Clones) -> None:
        super().__init__(set(), lambda: None)
        self._clones = clones

    def answered(self, pending: Pending, response: Response) -> None:
        """Ends the check: the node has another id."""
        self._clones.answered_otherwise(pending)

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Counts an answer with our id, and ends the check otherwise."""
        if isinstance(reason, AnsweredByOurselves):
            self._clones.answered_with_own_id(pending)
        elif isinstance(reason, QueryTimeout):
            self._clones.unanswered(pending)
        else:
            self._clones.answered_otherwise(pending)
