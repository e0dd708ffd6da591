"""The routing table (BEP 5): contacts that answered us, in buckets by how many leading bits they share with our id.

A contact is listed only after it answered a query of ours. It is *good* while it answered within the last 15
minutes, *questionable* after that or after one query without an answer, *bad* (and dropped) after three in a row.
Only the bucket on our own side splits; a full bucket keeps later comers as replacements.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from enum import Enum
from itertools import islice, takewhile
from operator import attrgetter

from grape.dht.addresses import AddressRules, PrivateRules
from grape.dht.bep42 import is_secure
from grape.dht.bounded import BoundedDict
from grape.dht.buckets import REPLACEMENTS_PER_BUCKET, Bucket, Contact, nearest_first
from grape.dht.compact import NODE_BYTES, Address
from grape.dht.nodeid import ID_BITS, position, shared_bits

K = 20
BAD_AFTER_FAILURES = 3
RELEARN_SECONDS = 60.0
MAX_DROPPED = 256
PART_SHIFT = ID_BITS - 10
MAX_GONE = 1_024
# A node that restarts has a new id at once; one that goes on like that only makes work.
RENAME_SECONDS = 60.0
RENAMES = 3
MAX_RENAMED = 4_096


class Listed(Enum):
    """What the table did with a node that answered."""

    NEW = "new"
    KNOWN = "known"
    REPLACEMENT = "replacement"
    REFUSED = "refused"


KNOWN = Listed.KNOWN


class RoutingTable:
    """The contacts of the node whose id is ``own_id``. Times are seconds on any steady clock.

    ``version`` changes whenever a contact comes or goes: what was derived from the table can be kept until then.
    """

    def __init__(self, own_id: bytes, k: int = K, rules: AddressRules | None = None) -> None:
        self.own_id = own_id
        self.rules: AddressRules = rules if rules is not None else PrivateRules()
        self.version = 0
        self._k = k
        self._own = position(own_id)
        self._buckets = [Bucket()]
        self._by_address: dict[Address, Contact] = {}
        # Addresses that were dropped as bad, and until when others' word for them does not count.
        self._dropped: BoundedDict[Address, float] = BoundedDict(MAX_DROPPED)
        # Whether a contact may have failed last; and a moment since which all have been seen.
        self._has_doubtful = False
        self._seen_since = -math.inf
        # The compact form of the contacts closest to each part of the space, until any contact changes its state.
        self._compact: dict[int, bytes] = {}
        # These contacts themselves, and their ids with addresses, until one comes or goes.
        self._near: dict[int, tuple[list[Contact], frozenset[tuple[bytes, Address]]]] = {}
        # The latest contacts that went, and the version that the table had then.
        self._gone: deque[tuple[int, bytes]] = deque(maxlen=MAX_GONE)
        # Addresses whose id changed: until when the changes are counted, and how many there were.
        self._renamed: BoundedDict[Address, tuple[float, int]] = BoundedDict(MAX_RENAMED)

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Contact]:
        return iter(list(self._by_address.values()))

    def adopt(self, own_id: bytes) -> None:
        """Take another id, the one from before a restart. Only while no contact is listed."""
        assert not self._by_address
        self.own_id = own_id
        self._own = position(own_id)

    def at(self, address: Address) -> Contact | None:
        """The contact listed at ``address``."""
        return self._by_address.get(address)

    def is_worth_asking(self, address: Address, now: float) -> bool:
        """Whether an address that another node told us of may be asked: not if it was dropped within a minute."""
        return self._dropped.get(address, now) <= now

    def lost(self, count: int, now: float) -> list[Address]:
        """Addresses that were dropped more than a minute ago, the longest ago first; they go to the end of the line."""
        due = [address for address, until in islice(self._dropped.items(), count) if until <= now]
        for address in due:
            self._dropped.move_to_end(address)
        return due

    def heard(self, node_id: bytes, address: Address, now: float, round_trip: float = 0.0) -> Listed:
        """Take note that the node ``node_id`` answered from ``address``.

        Refused are our own id, and a new id at an address that had RENAMES of them within a minute.
        """
        contact = self._by_address.get(address)
        if contact is not None and contact.id == node_id:
            contact.heard_at = contact.seen_at = now
            if contact.failures:
                contact.failures = 0
                self._compact.clear()
            contact.measured(round_trip)
            return KNOWN
        place = position(node_id)
        if place == self._own:
            return Listed.REFUSED
        self._dropped.pop(address, None)
        if contact is not None:
            until, renames = self._renamed.get(address, (now, 0))
            if now < until and renames >= RENAMES:
                return Listed.REFUSED
            # It restarted there under a new id: the old entry can never answer again.
            self._renamed.put(address, (until, renames + 1) if now < until else (now + RENAME_SECONDS, 1))
            self._remove(contact)
        contact = Contact(node_id, address, now)
        contact.measured(round_trip)
        bucket = self._bucket(place)
        listed = bucket.contacts.get(place)
        if listed is not None:
            if listed.failures == 0:
                # The same id elsewhere: the address that works is kept until it fails.
                return Listed.REFUSED
            self._remove(listed)
        return self._insert(contact)

    def failed(self, address: Address, sent_at: float, now: float) -> Contact | None:
        """Take note that the contact at ``address`` did not answer a query. Returns it if that made it bad: it is gone.

        Queries that were under way together count once: a pause of a second or two is one failure.
        """
        contact = self._by_address.get(address)
        if contact is None or sent_at < max(contact.failed_at, contact.heard_at):
            return None
        contact.failures += 1
        contact.failed_at = now
        self._has_doubtful = True
        self._compact.clear()
        bucket = self._bucket(contact.position)
        bucket.good_until = -math.inf
        if contact.failures < BAD_AFTER_FAILURES:
            return None
        self._remove(contact)
        self._dropped.put(address, now + RELEARN_SECONDS)
        while bucket.replacements:
            replacement = bucket.replacements.popitem()[1]
            if replacement.address not in self._by_address:
                self._insert(replacement)
                break
        return contact

    def gone_since(self, version: int) -> frozenset[bytes]:
        """The ids of the contacts that went since the table had this version; of very many the latest."""
        return frozenset(node_id for _, node_id in takewhile(lambda went: went[0] >= version, reversed(self._gone)))

    def closest(self, place: int, count: int = K, *, sound: bool = False) -> list[Contact]:
        """The ``count`` contacts closest to the position ``place``, nearest first. ``sound``: none that failed last."""
        buckets = self._buckets
        last = len(buckets) - 1
        home = min(shared_bits(self._own, place), last)
        found = nearest_first(buckets[home].contacts, place, sound=sound)
        if len(found) < count and home < last:
            # All deeper buckets lie on the other side of the same bit: none of them before the others.
            deeper: dict[int, Contact] = {}
            for bucket in buckets[home + 1 :]:
                deeper.update(bucket.contacts)
            found += nearest_first(deeper, place, sound=sound)
        for index in range(home - 1, -1, -1):
            if len(found) >= count:
                break
            found += nearest_first(buckets[index].contacts, place, sound=sound)
        return found[:count]

    def nearest(self, place: int) -> tuple[list[Contact], frozenset[tuple[bytes, Address]]]:
        """The K contacts closest to ``place``, and their ids with addresses.

        Those of one 1,024th of the space may stand in any order.
        """
        part = place >> PART_SHIFT
        near = self._near.get(part)
        if near is None:
            contacts = self.closest(place, K + 1)
            is_kept = _is_apart(contacts, K)
            del contacts[K:]
            near = contacts, frozenset(contact.pair for contact in contacts)
            if is_kept:
                self._near[part] = near
        return near

    def compact_closest(self, place: int, count: int = K) -> bytes:
        """The compact form of the ``count`` contacts closest to ``place`` that did not fail last, K at most.

        Within one of 1,024 equal parts of the space, contacts of one other part may stand in any order.
        """
        part = place >> PART_SHIFT
        nodes = self._compact.get(part)
        if nodes is None:
            contacts = self.closest(place, K + 1, sound=True)
            nodes = b"".join([contact.compact for contact in contacts[:K]])
            # Elsewhere in this part it would be the same, unless two of its own stand first, or the last one is
            # no closer than the first to be left out.
            if (len(contacts) < 2 or contacts[1].position >> PART_SHIFT != part) and _is_apart(contacts, K):
                self._compact[part] = nodes
        return nodes if count >= K else nodes[: max(count, 0) * NODE_BYTES]

    def unwell(self, moment: float) -> tuple[list[Contact], list[Contact]]:
        """The contacts that failed last, and those silent since ``moment``, the longest silent first."""
        doubtful = [contact for contact in self._by_address.values() if contact.failures] if self._has_doubtful else []
        self._has_doubtful = bool(doubtful)
        if moment < self._seen_since:
            return doubtful, []
        silent = [contact for contact in self._by_address.values() if contact.seen_at <= moment]
        if silent:
            silent.sort(key=_seen_at)
            self._seen_since = silent[0].seen_at
        else:
            self._seen_since = min(map(_seen_at, self._by_address.values()), default=moment)
        return doubtful, [contact for contact in silent if not contact.failures]

    def idle_buckets(self, moment: float) -> list[int]:
        """The numbers of the buckets in which nothing answered since ``moment``: BEP 5 has these refreshed."""
        return [
            number
            for number, bucket in enumerate(self._buckets)
            if all(contact.seen_at <= moment for contact in bucket.contacts.values())
        ]

    def bucket_sizes(self) -> list[int]:
        """How many contacts each bucket holds, the far side first."""
        return [len(bucket.contacts) for bucket in self._buckets]

    def has_use_for(self, node_id: bytes, now: float) -> bool:
        """Whether a node would be listed, or kept as a replacement that is needed, if it turned out to live."""
        bucket = self._bucket(position(node_id))
        return (
            len(bucket.contacts) < self._k
            or bucket is self._buckets[-1]
            or len(bucket.replacements) < REPLACEMENTS_PER_BUCKET
            or not bucket.is_good(now)
        )

    def questionable_rival(self, node_id: bytes, now: float) -> Contact | None:
        """The contact whose place ``node_id`` could take if it does not answer a ping: the longest silent one."""
        bucket = self._bucket(position(node_id))
        if bucket.is_good(now):
            return None
        rivals = [contact for contact in bucket.contacts.values() if not contact.is_good(now)]
        return min(rivals, key=lambda c: c.heard_at) if rivals else None

    def _bucket(self, place: int) -> Bucket:
        return self._buckets[min(shared_bits(self._own, place), len(self._buckets) - 1)]

    def _insert(self, contact: Contact) -> Listed:
        while True:
            bucket = self._bucket(contact.position)
            if self.rules.is_public and not self._is_admitted(contact, bucket):
                return Listed.REFUSED
            if len(bucket.contacts) < self._k:
                bucket.contacts[contact.position] = contact
                bucket.good_until = -math.inf
                bucket.replacements.pop(contact.position, None)
                self._by_address[contact.address] = contact
                self._seen_since = min(self._seen_since, contact.seen_at)
                self._changed()
                return Listed.NEW
            if bucket is not self._buckets[-1] or len(self._buckets) >= ID_BITS:
                break
            self._split()
        bucket.replacements.put(contact.position, contact)
        return Listed.REPLACEMENT

    def _is_admitted(self, contact: Contact, bucket: Bucket) -> bool:
        """In public: one contact for an address and for a network; ids that fit their address push others out."""
        hosts = (other.address[0] for other in self)
        neighbours = list(bucket.contacts.values())
        if not self.rules.has_room(contact.address[0], hosts, (other.address[0] for other in neighbours)):
            return False
        if len(neighbours) >= self._k and is_secure(contact.id, contact.address[0]):
            insecure = next((other for other in neighbours if not is_secure(other.id, other.address[0])), None)
            if insecure is not None:
                self._remove(insecure)
        return True

    def _split(self) -> None:
        old, near = self._buckets[-1], Bucket()
        depth = len(self._buckets)
        self._buckets.append(near)
        for place in [p for p in old.contacts if shared_bits(self._own, p) >= depth]:
            near.contacts[place] = old.contacts.pop(place)
        for place in [p for p in old.replacements if shared_bits(self._own, p) >= depth]:
            near.replacements.put(place, old.replacements.pop(place))

    def _remove(self, contact: Contact) -> None:
        self._bucket(contact.position).contacts.pop(contact.position, None)
        del self._by_address[contact.address]
        self._gone.append((self.version, contact.id))
        self._changed()

    def _changed(self) -> None:
        self._near.clear()
        self.version += 1
        self._compact.clear()


_seen_at = attrgetter("seen_at")


def _is_apart(contacts: list[Contact], index: int) -> bool:
    """Whether the contact at ``index``, if there is one, is in another part of the space than the one before it."""
    if len(contacts) <= index:
        return True
    return contacts[index - 1].position >> PART_SHIFT != contacts[index].position >> PART_SHIFT
