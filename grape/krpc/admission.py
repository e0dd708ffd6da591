"""Decides who may enter the routing table and how much is sent to addresses that may be spoofed.

A node is listed only after it answered a query of ours (BEP 5), so a querier that is not listed yet is pinged. The
source address of a UDP datagram can be false: pings to queriers are rate-limited, and in the public profile so are the
bytes sent to addresses that never answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from grape.dht import messages
from grape.dht.addresses import scope
from grape.dht.bounded import BoundedDict
from grape.dht.compact import Address
from grape.dht.nodeid import ID_BYTES
from grape.dht.ratelimit import HostRateLimit, RateLimit
from grape.dht.routing import MAX_DROPPED, RoutingTable
from grape.krpc.liveness import Claims, LivenessCheck, Ping
from grape.metrics import Counters

STRANGER_SECONDS = 60.0
STRANGER_BYTES_PER_SECOND = 16_384
ALL_STRANGERS_BYTES_PER_SECOND = 1_000_000
# For all queriers together: queries from many false addresses must not become pings to as many victims.
LIVENESS_CHECKS_PER_SECOND = 128.0
LIVENESS_CHECKS_AT_ONCE = 512.0
PING_BYTES = len(messages.encode_query(bytes(2), b"ping", {b"id": bytes(ID_BYTES)}))


class Admission:
    """Pings queriers that could be listed, within limits.

    ``ping(address, outcome)`` sends a ping and returns False if it could not be sent. At most
    ``max_liveness_checks`` are in flight; ``max_strangers`` addresses are remembered as checked within the last minute.
    ``own_query(transaction_id)`` is called for a query with our own id.
    """

    def __init__(
        self,
        table: RoutingTable,
        ping: Ping,
        counters: Counters,
        max_liveness_checks: int,
        max_strangers: int,
        own_query: Callable[[object], object] = lambda transaction_id: None,
    ) -> None:
        self._table = table
        self._own_query = own_query
        self._ping = ping
        self._counters = counters
        self._max_checking = max_liveness_checks
        self._checking: set[Address] = set()
        # When an unlisted querier, by address and id, was pinged last.
        self._checked_at: BoundedDict[tuple[Address, bytes], float] = BoundedDict(max_strangers)
        # When the contact with an id was dropped: pings from before, to whatever address, count no more.
        self._dropped_at: BoundedDict[bytes, float] = BoundedDict(MAX_DROPPED)
        self._to_strangers = HostRateLimit(STRANGER_BYTES_PER_SECOND, ALL_STRANGERS_BYTES_PER_SECOND, max_strangers)
        self._checks = RateLimit(LIVENESS_CHECKS_PER_SECOND, LIVENESS_CHECKS_AT_ONCE)
        self._claims = Claims(table, ping, lambda now: self._checks.allows("", 1, now), self.check)

    def set_limits(self, max_liveness_checks: int, max_strangers: int) -> None:
        """Sets the two limits; checks in flight end as they do."""
        self._max_checking = max_liveness_checks
        self._checked_at.resize(max_strangers)
        self._to_strangers.resize(max_strangers)

    def queried(self, node_id: bytes, address: Address, now: float, transaction_id: object = None) -> None:
        """Notes a query from a node: a listed one shows life, an unlisted one is pinged if the table has use for it.

        An id that is listed at another address has that contact pinged first.
        """
        table = self._table
        contact = table.at(address)
        if contact is not None and contact.id == node_id:
            contact.seen_at = now
            if contact.failures or contact.is_silent:
                self.check(address, node_id)
            return
        if node_id == table.own_id:
            self._own_query(transaction_id)
            return
        listed = table.with_id(node_id)
        if listed is not None:
            self._claims.claimed(listed, address, now)
            return
        # Once a minute; tested first, as most queries of unlisted nodes end here. Without the pause two nodes that
        # cannot list each other would answer each other's pings with pings for ever.
        at = self._checked_at.get((address, node_id), -math.inf)
        if now - at < STRANGER_SECONDS and at > self._dropped_at.get(node_id, -math.inf):
            return
        if (contact or table.has_use_for(node_id, now)) and self._may_ping(address, now):
            self._checked_at.put((address, node_id), now)
            self.check(address, node_id)

    def refused(self, node_id: bytes, address: Address, now: float) -> None:
        """Notes a node that answered and was not listed, as its id may be that of a contact at another address."""
        listed = self._table.with_id(node_id)
        if listed is not None:
            self._claims.claimed(listed, address, now)

    def listed(self, node_id: bytes, address: Address) -> None:
        """Forgets that a node was pinged, because it was listed: once unlisted, its next query counts."""
        self._checked_at.pop((address, node_id), None)

    def dropped(self, node_id: bytes, now: float) -> None:
        """Forgets all pings to nodes with the id of a dropped contact: the next query of any of them counts."""
        self._dropped_at.put(node_id, now)

    def is_checking(self, address: Address) -> bool:
        """Returns True while a ping to a node, because it queried us, may still be answered."""
        return address in self._checking

    def check(self, address: Address, node_id: bytes = b"") -> None:
        """Pings a node unless a ping to it is in flight; the endpoint lists the node if it answers."""
        checking = self._checking
        if node_id == self._table.own_id or address in checking or len(checking) >= self._max_checking:
            return
        if not self._table.rules.is_usable(address[0]):
            return
        checking.add(address)
        outcome = LivenessCheck(checking, lambda: self._checked_at.pop((address, node_id), None))
        if not self._ping(address, outcome):
            checking.discard(address)

    def may_send(self, size: int, address: Address, now: float) -> bool:
        """Returns True if ``size`` bytes may be sent to an address now.

        The public profile limits the bytes sent to addresses that never answered: their source address may be spoofed.
        """
        if not self._table.rules.is_public or self._table.at(address) is not None or scope(address[0]) != "global":
            return True
        if self._to_strangers.allows(address[0], size, now):
            return True
        self._counters.shaped += 1
        return False

    def _may_ping(self, address: Address, now: float) -> bool:
        """Returns True if the rate limits allow a ping to an unlisted querier."""
        if not self._checks.allows("", 1, now):
            self._counters.shaped += 1
            return False
        if not self.may_send(PING_BYTES, address, now):
            self._checks.give_back("", 1)
            return False
        return True
