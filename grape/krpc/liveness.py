"""Pings that update the routing table: of one node, and of a contact whose node id is used at another address, too.

A node that comes back with its id at another address is not listed there while its old entry is, because anybody can
claim an id. So the old entry is pinged: if it does not answer twice, the new address is pinged and takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from grape.dht.bounded import BoundedDict
from grape.dht.buckets import Contact
from grape.dht.compact import Address
from grape.dht.errors import QueryFailed, QueryTimeout
from grape.dht.messages import Response
from grape.dht.routing import MOVED_AFTER_FAILURES, RoutingTable
from grape.dht.transactions import Outcome, Pending

# The pause between two checks of one id: whoever claims it from other addresses causes no more than that.
CLAIM_SECONDS = 5.0
MAX_CLAIMED = 1_024
# The addresses that are pinged for one id when its contact does not answer.
MAX_CLAIMANTS = 4

Ping = Callable[[Address, Outcome], bool]


class LivenessCheck:
    """The outcome of a ping whose only effect is on the routing table."""

    __slots__ = ("_checking", "_on_failure")

    def __init__(self, checking: set[Address], on_failure: Callable[[], object]) -> None:
        self._checking = checking
        self._on_failure = on_failure

    def answered(self, pending: Pending, response: Response) -> None:
        """Ends the check; the endpoint has listed the node."""
        self._checking.discard(pending.address)

    def slow(self, pending: Pending) -> None:
        """Does nothing: the check ends at the time-out."""

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Ends the check and has the node checked again at its next query: a datagram may have been lost."""
        self._checking.discard(pending.address)
        self._on_failure()


class Claims:
    """Decides between a contact and other addresses that use its node id.

    ``ping(address, outcome)`` sends a ping and returns False if it could not be sent. ``allows(now)`` returns False
    while no check may begin. ``check(address, node_id)`` pings a claimant, which is listed if it answers.
    """

    def __init__(
        self,
        table: RoutingTable,
        ping: Ping,
        allows: Callable[[float], bool],
        check: Callable[[Address, bytes], object],
    ) -> None:
        self._table = table
        self._ping = ping
        self._allows = allows
        self._check = check
        # When the contact with an id was checked last.
        self._checked_at: BoundedDict[bytes, float] = BoundedDict(MAX_CLAIMED)
        # The ids whose contacts are being pinged, each with the addresses that use it, too.
        self._claimants: dict[bytes, list[Address]] = {}

    def claimed(self, contact: Contact, claimant: Address, now: float) -> None:
        """Notes that a node at another address uses the id of ``contact``, which is pinged unless it was lately."""
        node_id = contact.id
        claimants = self._claimants.get(node_id)
        if claimants is not None:
            if len(claimants) < MAX_CLAIMANTS and claimant not in claimants:
                claimants.append(claimant)
            return
        if now - self._checked_at.get(node_id, -math.inf) < CLAIM_SECONDS or not self._allows(now):
            return
        self._checked_at.put(node_id, now)
        self._claimants[node_id] = [claimant]
        if contact.failures >= MOVED_AFTER_FAILURES:
            self.settled(node_id, contact.address)
        else:
            self.ping(contact, now)

    def ping(self, contact: Contact, since: float) -> None:
        """Pings a contact; a sign of life since ``since`` ends the check, too."""
        if not self._ping(contact.address, _ContactCheck(self, self._table, contact, since)):
            del self._claimants[contact.id]

    def settled(self, node_id: bytes, address: Address) -> None:
        """Ends a check: unless the contact at ``address`` keeps the id, those that claim it are pinged."""
        claimants = self._claimants.pop(node_id)
        contact = self._table.with_id(node_id)
        if contact is None or (contact.address == address and contact.failures >= MOVED_AFTER_FAILURES):
            for claimant in claimants:
                self._check(claimant, node_id)


class _ContactCheck(LivenessCheck):
    """The outcome of a ping of a contact whose id is claimed: without an answer the contact is pinged again."""

    __slots__ = ("_claims", "_contact", "_since", "_table")

    def __init__(self, claims: Claims, table: RoutingTable, contact: Contact, since: float) -> None:
        super().__init__(set(), lambda: None)
        self._claims = claims
        self._table = table
        self._contact = contact
        self._since = since

    def answered(self, pending: Pending, response: Response) -> None:
        """Ends the check: the contact lives, or another node has taken its address and the id is free."""
        self._claims.settled(self._contact.id, pending.address)

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Pings once more after the first time-out in a row, and ends the check after the second."""
        contact = self._contact
        is_doubtful = (
            isinstance(reason, QueryTimeout)
            and self._table.at(contact.address) is contact
            and contact.heard_at <= self._since
            and 0 < contact.failures < MOVED_AFTER_FAILURES
        )
        if is_doubtful:
            self._claims.ping(contact, self._since)
        else:
            self._claims.settled(contact.id, contact.address)
