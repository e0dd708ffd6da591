"""Holds contacts and their health in buckets: the parts of the routing table (BEP 5)."""

from __future__ import annotations

import math
from operator import attrgetter

from grape.dht.bounded import BoundedDict
from grape.dht.compact import Address, encode_peer
from grape.dht.nodeid import position

GOOD_SECONDS = 900.0
REPLACEMENTS_PER_BUCKET = 8
# A contact's round trip is the least of so many: a host that is busy, or was switched on just now, answers late.
ROUND_TRIPS = 8
# So many make a record. The first ones may be long because processes that start together are busy.
MIN_RECORD = 3
# The round trip of a contact that has answered pings alone: it has the soft timeout that is usual in this network.
UNMEASURED_SECONDS = 1e-9


class Contact:
    """Describes a node that answered us: its 20-byte id, ``(host, port)`` address, health and round trip."""

    __slots__ = (
        "address",
        "compact",
        "failed_at",
        "failures",
        "heard_at",
        "id",
        "is_silent",
        "latest",
        "latest_at",
        "pair",
        "position",
        "round_trip",
        "seen_at",
    )

    def __init__(self, node_id: bytes, address: Address, heard_at: float = 0.0) -> None:
        self.id = node_id
        self.address = address
        self.pair = (node_id, address)
        self.position = position(node_id)
        self.compact = node_id + encode_peer(address)
        # When it last answered, and when it last sent anything: BEP 5 counts a contact's queries, too.
        self.heard_at = self.seen_at = heard_at
        self.failures = 0
        self.failed_at = 0.0
        # True once it missed the soft timeouts of two queries in a row, or its process is gone, until it answers.
        self.is_silent = False
        # Seconds, the least of the ``latest``, of which the oldest is at ``latest_at``.
        self.round_trip = UNMEASURED_SECONDS
        self.latest = [math.inf] * ROUND_TRIPS
        self.latest_at = 0

    def __repr__(self) -> str:
        return f"<Contact {self.id.hex()[:8]} {self.address[0]}:{self.address[1]}>"

    @property
    def is_doubtful(self) -> bool:
        """True if its last query failed, or it is silent: lookups do not wait for it."""
        return self.failures > 0 or self.is_silent

    @property
    def has_record(self) -> bool:
        """True once so many round trips were measured that the least of them is the contact's own."""
        return self.latest[MIN_RECORD - 1] < math.inf

    def measured(self, round_trip: float) -> None:
        """Adds the round trip of a response, in seconds; 0, that of a ping which measures nothing, is ignored."""
        if not round_trip:
            return
        latest, at, least = self.latest, self.latest_at, self.round_trip
        oldest = latest[at]
        latest[at] = round_trip
        self.latest_at = (at + 1) % ROUND_TRIPS
        if round_trip <= least or least == UNMEASURED_SECONDS:
            self.round_trip = round_trip
        elif oldest <= least:
            self.round_trip = min(latest)

    def is_good(self, now: float) -> bool:
        """Returns True if the contact answered within GOOD_SECONDS (BEP 5) and has not failed since."""
        return self.failures == 0 and now - self.heard_at < GOOD_SECONDS


class Bucket:
    """Holds up to K contacts by position, and the latest nodes that found it full as replacements."""

    __slots__ = ("contacts", "good_until", "replacements")

    def __init__(self) -> None:
        self.contacts: dict[int, Contact] = {}
        self.replacements: BoundedDict[int, Contact] = BoundedDict(REPLACEMENTS_PER_BUCKET)
        # All contacts are good at least until then, unless one fails or is added.
        self.good_until = -math.inf

    def is_good(self, now: float) -> bool:
        """Returns True if all contacts are good."""
        if now < self.good_until:
            return True
        contacts = self.contacts.values()
        if not all(contact.is_good(now) for contact in contacts):
            return False
        self.good_until = min(map(_heard_at, contacts), default=now) + GOOD_SECONDS
        return True


_heard_at = attrgetter("heard_at")


def nearest_first(contacts: dict[int, Contact], place: int, *, sound: bool) -> list[Contact]:
    """Returns contacts ordered by distance to the position ``place``; ``sound`` leaves out those that failed last."""
    ordered = [contacts[p] for p in sorted(contacts, key=place.__xor__)]
    return [contact for contact in ordered if not contact.failures] if sound else ordered
